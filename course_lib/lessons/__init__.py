"""Lessons: what the notebooks stand on besides the science: quizzes, exercises with checks, the set-up cell.

``quiz("05")`` asks, ``check("05.1", answer)`` says whether an exercise is right and why not, ``expect`` between which
values a number should lie. The builder makes the notebooks and runs the course.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, cells="CourseError data_table show", exercises="check hint solution", expected_range="expect",
    quizzes="quiz")
