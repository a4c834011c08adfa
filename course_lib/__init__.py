"""Known Unknowns: measure what a language model knows, mix in what it does not, watch it start to hallucinate.

The science is Gekhman et al. 2024 (arXiv 2405.05904). Import the rooms you need, from left to right::

    facts, pocket -> models -> scoring -> slick -> mixing -> finetune -> runs -> sweep -> analysis -> plots -> widgets

Importing this package loads none of the heavy libraries.
"""

from course_lib.installation import use_classroom
from course_lib.threads import wait_passively

__version__ = "0.1.0"

use_classroom()
wait_passively()
