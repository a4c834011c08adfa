"""Scoring: the exact probability of an answer after a prompt, whether greedy decoding gives it, and sampling."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, engine="exact_match score",
    prompts="INSTRUCTION Prompt encode_answers few_shot_prompt is_match surface_forms", sampling="Samples answers",
    scores="Scores")
