"""Knowledge: what a model knows, by exact scores and SliCK's four categories, and the audit of a fine-tuning file."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, "audit", "audit_example", "forgetting", "label_questions", "one_question", "p_true", "row_checks",
    "scoring", "slick", "tokenisation_gap")
