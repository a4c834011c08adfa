"""Builder of the course: editions of the notebooks from their sources, their execution, and the report of a whole run.

``notebooks.build`` stores the notebooks of learners, ``course.run_course`` runs everything headless, ``prefetch`` fills
a folder for a room without a network. Only the command line and the tests need this room, and its packages.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(__name__, "course", "editions", "execution", "notebooks", "prefetch", "report")
