"""Names of other rooms that cells of nearly every lesson call, re-exported for convenience."""

from course_lib.figures.plots.values import data_table
from course_lib.figures.widgets.display import show
from course_lib.files import CourseError

__all__ = ["CourseError", "data_table", "show"]
