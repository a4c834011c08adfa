"""Scoring: the exact probability of an answer after a prompt, whether greedy decoding gives it, and sampling."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, engine="INSTRUCTION encode_answers exact_match few_shot_prompt is_match score",
    sampling="Samples answers", scores="Scores")
