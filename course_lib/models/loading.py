"""From a preset, a folder or a Hub id to a tokenizer and a 4-bit model, ready for LoRA."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib import threads
from course_lib.files import CourseError
from course_lib.models import hardware
from course_lib.models.checks import check_config, in_one_sentence, refuse_folder, refuse_unlike, try_out
from course_lib.models.four_bit import keep_exact_on_cpu, merged_for_evaluation, nf4_config
from course_lib.models.hub import HubId, fetch
from course_lib.models.memory_usage import release_memory
from course_lib.models.presets import PRESETS, folder_of, hub_id
from course_lib.models.tokenizer import fit_padding, read_tokenizer, refuse_tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Loaded", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model and its tokenizer, with the name that every result of theirs must carry.

    ``revision`` is the commit hash of a Hub model, None for a folder.
    """

    preset: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str | None = None

    def merged(self) -> AbstractContextManager[torch.nn.Module]:
        """Evaluate faster on a CPU within a ``with`` block: see :func:`.four_bit.merged_for_evaluation`."""
        return merged_for_evaluation(self.model)


def load(preset_or_path: str | Path, *, device: str | None = None, four_bit: bool = True,
         revision: str | None = None) -> Loaded:
    """Load a base model in NF4, ready for LoRA; ``four_bit=False`` keeps the stored weights instead.

    A preset, a folder, ``owner/name`` or ``owner/name@revision``; ``revision`` pins a Hub model under its plain name.
    What is on this disk is taken without a network; else it is fetched, and its size is said first (hub.py).

    ``device`` is "cpu" or "cuda"; the GPU is taken if there is one. The compute dtype is float32 on a CPU, bfloat16
    from compute capability 8.0, float16 below it (a T4 has 7.5).

    Raises:
        CourseError: neither a preset, nor a folder with a model, nor a Hub id that can be had; the message says which.
    """
    import torch
    from transformers import AutoModelForCausalLM

    name, source, revision = _source(str(preset_or_path), revision)
    refuse_folder(source)
    device = device or hardware.device()
    if device == "cpu" and threads.spin():
        warnings.warn(threads.SPINNING, stacklevel=2)
    dtype = getattr(torch, hardware.device_dtype(device))
    quantization = {"quantization_config": nf4_config(dtype)} if four_bit else {}
    with _quiet(source):
        check_config(source)
        tokenizer = read_tokenizer(source)
        with in_one_sentence(source):
            model, report = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, device_map={"": device}, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True, ignore_mismatched_sizes=True, **quantization)
    refuse_unlike(source, model, report)
    fit_padding(tokenizer, model)
    refuse_tokens(source, tokenizer, model)
    keep_exact_on_cpu(model.eval())
    model.requires_grad_(False)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    try_out(source, tokenizer, model)
    release_memory()
    return Loaded(name, model, tokenizer, revision)


@contextmanager
def _quiet(source: str) -> Iterator[None]:
    """No bar for a model that lies on this disk, and none of two warnings that only tell of other packages."""
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # peft asks for a name that transformers 6 will drop; nothing that a learner could do about it
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    silence = Path(source).is_dir() and transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what matters of its table of weights, checks.py says
    if silence:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if silence:
            transformers_logging.enable_progress_bar()


def _source(preset_or_path: str, revision: str | None) -> tuple[str, str, str | None]:
    """The name that results carry, the folder to load from, and the commit hash of a Hub model."""
    if model := hub_id(preset_or_path):
        found = fetch(HubId(model.repo, revision or model.revision))
        return preset_or_path.replace("/", "--"), str(found.folder), found.revision
    path = folder_of(preset_or_path)
    if not (path / "config.json").is_file():
        raise CourseError(f"{path}: no config.json; give a folder written by save_pretrained")
    return preset_or_path if preset_or_path in PRESETS else path.resolve().name, str(path), None
