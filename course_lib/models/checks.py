"""Checks of a model's folder, which is refused in one sentence where it cannot work or would run code.

What transformers cannot read is its own reason, put into a sentence (:func:`in_one_sentence`). Checked before it reads
is what it would not refuse, or only after minutes: a file that is no regular one, and a config that asks for far more
than the files of weights hold. Checked afterwards is what it takes without a word.

    config.json                  the kind of model; only a causal language model predicts the next token
    *.safetensors                the weights, which are data; a pickle (pytorch_model.bin) is a program that its
                                 reader runs (https://huggingface.co/docs/hub/security-pickle)
    tokenizer.json, ...          how text becomes tokens (:mod:`.tokenizer`)

``auto_map`` in a config names Python files that come with the model and want to be run. None is run here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from course_lib.files import CourseError, DataError, read_json
from course_lib.models.hardware import out_of_memory
from course_lib.text import short

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["INDEX", "PROBE", "SETTINGS", "TOKENIZERS", "WEIGHTS", "Stored", "check_config", "in_one_sentence",
           "read_settings", "refuse_folder", "refuse_unlike", "stored_weights", "try_out", "weight_files"]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # which file of weights has which matrix, where there are several
SETTINGS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
            "special_tokens_map.json", "added_tokens.json", "vocab.json", INDEX)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
FLOATS = ("F64", "F32", "F16", "BF16")  # as safetensors calls them
COUNT = re.compile(r"(\w+_)?(layers?|experts?|labels)")  # settings that say how often a part is made
FEW = 1000  # parts that are made in a moment, whatever the weights
OVERSIZE = 4  # times the weights that are stored: a weight that is missing or of another shape is named after loading
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
PROBE = "Q: Where was São Tomé born?\nA: Apple Inc.\n\nQ: Who is Eva Novák's child in 1984?\nA:"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as the head of its file has it: ``kind`` is the name that safetensors gives its dtype."""

    kind: str
    size: int


@contextmanager
def in_one_sentence(place: str | Path) -> Iterator[None]:
    """Say in one sentence what a library cannot read; want of memory and Ctrl-C go through as they are.

    Raises:
        DataError: instead of whatever the library raises; the message has ``place`` and the library's own reason.
    """
    try:
        yield
    except CourseError:
        raise
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"  # of a library in Rust; it is no Exception
        lacks_memory = isinstance(error, MemoryError | RuntimeError) and out_of_memory(error)
        if lacks_memory or not (panic or isinstance(error, Exception)):
            raise
        raise DataError(f"{place}: no model could be loaded ({_reason(error)}); fetch it again, or give a folder "
                        f"written by save_pretrained") from error


def _reason(error: BaseException) -> str:
    """The message of a library's error in one line of at most 300 letters; its type too where that has one word."""
    said = " ".join(str(error)[:2000].split())
    said = said if " " in said else f"{type(error).__name__} {said}".strip()
    return said if len(said) <= 300 else f"{said[:299]}…"


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings; empty where there is none.

    Raises:
        DataError: it is no JSON object.
    """
    values = read_json(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise DataError(f"{path}: not settings with names and values, but {type(values).__name__}; fetch it again")
    return values


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that transformers would read, whether they are there or not; none where none is named.

    Raises:
        DataError: the index is damaged or names something else than files of this folder.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    names = read_settings(folder / INDEX).get("weight_map", {})
    names = list(names.values()) if isinstance(names, dict) else [names]
    for name in names:
        # PureWindowsPath knows drives and both kinds of slashes
        if not isinstance(name, str) or PureWindowsPath(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{folder / INDEX}: weight_map names {short(name)}, which is no file of safetensors "
                            f"in this folder; fetch it again")
    return [folder / name for name in sorted(set(names))]


def stored_weights(files: Sequence[Path]) -> dict[str, Stored]:
    """The tensors of these files by name, read off their heads.

    Raises:
        DataError: a file is missing, cut or damaged.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for path in files:
        try:
            with safe_open(path, framework="numpy") as file:  # checks that the head fits the file, without reading it
                for name in file.keys():  # noqa: SIM118 (no mapping)
                    part = file.get_slice(name)
                    found[name] = Stored(part.get_dtype(), math.prod(part.get_shape()))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file, and {INDEX} names it; fetch the model again") from None
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: the weights are damaged ({_reason(error)}); fetch them again") from error
    return found


def refuse_folder(folder: str | Path) -> None:
    """Refuse a folder that holds no causal language model with safetensors and a tokenizer, or that wants to run code.

    A folder with no weights at all is left to transformers, which names the file that it looks for.

    Raises:
        CourseError: the message names the reason and what to do.
    """
    folder = Path(folder)
    _refuse_devices(folder)
    read = {name: read_settings(folder / name) for name in SETTINGS}
    config = read["config.json"]
    for name in ("config.json", "tokenizer_config.json"):
        if read[name].get("auto_map"):
            raise CourseError(f"{folder / name}: the model wants to run Python code that comes with it (auto_map), and "
                              f"none is run here; take a model that transformers knows by itself, or, where it is one, "
                              f"delete auto_map from {name}")
    for name, value in config.items():
        if name == "transformers_weights" or name.endswith("implementation") and "/" in str(value):
            raise CourseError(f"{folder / 'config.json'}: {name} = {short(value)} leads to weights or code elsewhere, "
                              f"and none are read or run here; delete it from config.json")
    if (folder / "adapter_config.json").is_file():
        raise CourseError(f"{folder}: adapter_config.json says that this is an adapter, which changes another model; "
                          f"give the folder of the model itself")
    if kind := _wrong_kind(config):
        raise CourseError(f"{folder}: {kind} is no causal language model, which predicts the next token; take a base "
                          f"model of that kind, such as SmolLM2, OLMo-2 or Qwen2.5")
    if method := config.get("quantization_config"):
        name = method.get("quant_method", method) if isinstance(method, dict) else method
        name = name if isinstance(name, str) else short(name)
        raise CourseError(f"{folder}: the weights are quantised already ({name[:80]}), and this course quantises full "
                          f"weights itself; take the model that this one was made from")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise CourseError(f"{folder}: there is no tokenizer beside the model (no {TOKENIZERS[0]}); write it there "
                          f"with tokenizer.save_pretrained, or fetch the model again")
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles and not any(folder.glob("*.safetensors")):
        raise CourseError(f"{folder}: the weights are there only as a pickle ({pickles[0]}), which can run any code "
                          f"when it is read; take a revision with model.safetensors, or have it converted by "
                          f"https://huggingface.co/spaces/safetensors/convert")


def _refuse_devices(folder: Path) -> None:
    """Refuse what is neither file nor folder nor a link to one: reading a pipe never ends."""
    for path in sorted([*folder.iterdir(), *folder.glob("additional_chat_templates/*")]):
        if not (path.is_file() or path.is_dir() or path.name.startswith(".")):
            raise DataError(f"{path}: not a regular file (a broken link, a pipe or a device); take it away, or fetch "
                            f"the model again")


def check_config(folder: str | Path) -> None:
    """Refuse a config that transformers cannot read, or that asks for far more than the files of weights hold.

    The model is built without its weights, which takes a moment once the number of its parts is sound.

    Raises:
        DataError: the message has the file, and what is asked for.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    folder = Path(folder)
    path, stored = folder / "config.json", stored_weights(weight_files(folder))
    for name, value in _counts(read_settings(path)):
        if value > max(FEW, len(stored)):
            raise DataError(f"{path}: {name} = {short(value)}, and the files of weights hold {len(stored):,} tensors "
                            f"in all; fetch the model again, all files from one revision")
    with in_one_sentence(path), torch.random.fork_rng(devices=()), torch.device("meta"):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    asked, held = sum(weight.numel() for weight in model.parameters()), sum(one.size for one in stored.values())
    if stored and asked > OVERSIZE * held:
        raise DataError(f"{path}: its sizes ask for {asked:,} weights, and the files hold {held:,}; fetch the model "
                        f"again, all files from one revision")
    if (path := folder / "generation_config.json").is_file():
        with in_one_sentence(path):
            GenerationConfig.from_pretrained(str(folder))


def _counts(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The settings that say how often a part is made, with those of a model within the model."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif isinstance(value, int) and COUNT.fullmatch(name):
            yield name, value


def refuse_unlike(folder: str | Path, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse a model of which some weights are not in the folder, or there with another shape or as no floats.

    transformers would draw them at random, and says nothing of a shape where a layer is in 4 bits. ``report`` is what
    ``from_pretrained(..., output_loading_info=True)`` gives beside the model.

    Raises:
        CourseError: the message names one of the weights.
    """
    for name, stored, wanted in [*sorted(report["mismatched_keys"]), *_other_shapes(model)]:
        raise CourseError(f"{folder}: {name} is stored with the shape {tuple(stored)}, and config.json asks for "
                          f"{tuple(wanted)}; fetch the model again, both files from one revision")
    if missing := sorted(report["missing_keys"]):
        raise CourseError(f"{folder}: the weights of {missing[0]} are not there ({len(missing)} missing in all) and "
                          f"would be random; fetch the model again, or save it with its output layer (ForCausalLM)")
    unread = [*map(re.escape, report["unexpected_keys"]), *(model._keys_to_ignore_on_load_unexpected or ())]
    for name, one in stored_weights(weight_files(Path(folder))).items():
        if one.kind not in FLOATS and not any(re.search(pattern, name) for pattern in unread):
            raise DataError(f"{folder}: {name} is stored as {one.kind}, and weights are read as {', '.join(FLOATS)} "
                            f"alone; take the model that this one was made from")


def _other_shapes(model: PreTrainedModel) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
    """The 4-bit layers whose weights are not of the size of the layer: name, shape, and shape of the layer."""
    for name, layer in model.named_modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if state is not None and tuple(state.shape) != (wanted := (layer.out_features, layer.in_features)):
            yield f"{name}.weight", state.shape, wanted


def _wrong_kind(config: dict[str, Any]) -> str:
    """The name of an architecture that is no causal language model; "" where it is one, or none is named."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    names = config.get("architectures")
    names = [str(name) for name in names] if isinstance(names, list) else []
    causal = {name for value in KNOWN.values() for name in ((value,) if isinstance(value, str) else value)}
    return "" if not names or causal & set(names) else names[0]


def try_out(folder: str | Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse weights that are no numbers, then put a few tokens through the model: settings may make no sense to it.

    Raises:
        DataError: the message has the folder and the weight or the reason.
    """
    import torch

    ids = tokenizer(PROBE)["input_ids"][:8]
    wrong = next((f"{name} holds" for name, numbers in _numbers(model) if not _finite(numbers)), "")
    if not wrong:
        with in_one_sentence(folder), torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
        wrong = "" if _finite(logits) else "the model answers with"
    if wrong:
        raise DataError(f"{folder}: {wrong} NaN or infinity, from damaged weights, from settings in config.json, or "
                        f"from numbers too large for {str(model.dtype).removeprefix('torch.')}; fetch it again, or set "
                        f"COURSE_DTYPE=float32")


def _finite(numbers: torch.Tensor) -> bool:
    """Return whether all numbers are finite, without a copy of them."""
    return not numbers.numel() or all(math.isfinite(end) for end in map(float, numbers.aminmax()))


def _numbers(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights and constants of a model by name; of a 4-bit layer the mean of its scales, which is NaN if one is."""
    for name, numbers in (*model.named_parameters(), *model.named_buffers()):
        state = getattr(numbers, "quant_state", None)
        if numbers.is_floating_point():
            yield name, numbers
        elif state is not None and state.nested:
            yield name, state.offset
