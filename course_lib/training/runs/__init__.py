"""Run folders: written epoch by epoch so that a run survives a kill, and read back as tables (``read_runs``).

``open_run`` gives a writer whose ``resume`` and ``epoch`` go into :func:`.finetune.tune`.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, writer="RunBusy RunWriter open_run",
    folder="RunSpec bundle_specs finished_epochs is_completed read_history read_right read_runs write_bundle")
