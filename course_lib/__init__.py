"""Known Unknowns: measure what a language model knows, mix in what it does not, watch it start to hallucinate.

The science is Gekhman et al. 2024 (arXiv 2405.05904). Read the rooms like the paper, from left to right::

    data -> models -> knowledge -> training -> experiments -> analysis -> figures -> lessons

Each has a face: ``from course_lib.knowledge import scoring, slick``. Importing loads none of the heavy libraries.
"""

from course_lib.installation import use_classroom
from course_lib.lazy import attach
from course_lib.threads import wait_passively

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = attach(
    __name__, "analysis", "doctor", "figures", "lessons", "models",
    data="facts paper pocket", knowledge="audit scoring slick", training="finetune mixing",
    experiments="open_study sweep", figures="plots widgets")

use_classroom()
wait_passively()
