"""Training: data sets with a chosen share of Unknown facts (``mixing``), QLoRA on them (``finetune``), stored ``runs``.

``mixing.draw`` makes a :class:`.mixing.Mix`, ``finetune.tune`` trains an adapter on it and evaluates every epoch; the
loop packs rows without padding and can train many adapters over one frozen base in one pass.
"""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, "mixing", "finetune", "runs",
    records="Checkpoint EpochRecord History TrainingMemory TuneConfig best_epoch pack_bits unpack_bits")
