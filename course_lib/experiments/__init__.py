"""Experiments: a study of one preset, the sweep of its fine-tuning runs, what they cost, and the reference runs."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, "sweep", forecast="forecast_study", plan="Plan read_plan",
    reference="StoredRuns finished_runs has_reference reference_runs reproduce stored_runs",
    settings="SETTINGS Settings", study="Study open_study")
