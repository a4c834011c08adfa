"""Base models: presets, download, safety checks, loading in 4 bits, NF4, hardware, memory of a training step."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__, "hardware", "memory", "nf4", four_bit="keep_exact_on_cpu merged_for_evaluation",
    hardware="compute_dtype device", loading="Loaded load", presets="PRESETS Preset default_preset")
