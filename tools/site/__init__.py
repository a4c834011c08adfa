"""The site of the course, and the instructor's timetables."""
