"""A model's folder: refused in one sentence where it cannot work or would run code, and its tokenizer as it is written.

    config.json                  the kind of model; only a causal language model predicts the next token
    *.safetensors                the weights, which are data; a pickle (pytorch_model.bin) is a program that its
                                 reader runs (https://huggingface.co/docs/hub/security-pickle)
    tokenizer.json, ...          how text becomes tokens

``auto_map`` in a config names Python files that come with the model and want to be run. None is run here.

transformers 5 builds the tokenizers of some families anew from the vocabulary alone, whatever tokenizer.json says of
the rest: a Qwen2 whose tokenizer is of another kind would read other tokens than it was trained with, and nothing
would tell. So the two are compared, and where they differ tokenizer.json is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.files import CourseError, DataError, read_json
from course_lib.hub import TOKENIZERS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["fit_padding", "read_tokenizer", "refuse_folder", "refuse_unlike"]

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
PROBES = ("Q: Where was São Tomé born?\nA: Apple Inc.\n\nQ: Who is Eva Novák's child in 1984?\nA:",
          "Answer the following question.\n  Rome (Italy),\t東京 St. John's, 12,345.6 km... Who?", " a", "a\n",
          "cafe\u0301")


def refuse_folder(folder: str | Path) -> None:
    """Refuse a folder that holds no causal language model with safetensors and a tokenizer, or that wants to run code.

    A folder with no weights at all is left to transformers, which names the file that it looks for.

    Raises:
        CourseError: the message names the reason and what to do.
    """
    folder = Path(folder)
    config = _json(folder / "config.json")
    for name, values in (("config.json", config), ("tokenizer_config.json", _json(folder / "tokenizer_config.json"))):
        if values.get("auto_map"):
            raise CourseError(f"{folder / name}: the model wants to run Python code that comes with it (auto_map), and "
                              f"none is run here; take a model that transformers knows by itself, or, where it is one, "
                              f"delete auto_map from {name}")
    if kind := _wrong_kind(config):
        raise CourseError(f"{folder}: {kind} is no causal language model, which predicts the next token; take a base "
                          f"model of that kind, such as SmolLM2, OLMo-2 or Qwen2.5")
    if method := (config.get("quantization_config") or {}).get("quant_method"):
        raise CourseError(f"{folder}: the weights are quantised already ({method}), and this course quantises full "
                          f"weights itself; take the model that this one was made from")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise CourseError(f"{folder}: there is no tokenizer beside the model (no {TOKENIZERS[0]}); write it there "
                          f"with tokenizer.save_pretrained, or fetch the model again")
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles and not any(folder.glob("*.safetensors")):
        raise CourseError(f"{folder}: the weights are there only as a pickle ({pickles[0]}), which can run any code "
                          f"when it is read; take a revision with model.safetensors, or have it converted by "
                          f"https://huggingface.co/spaces/safetensors/convert")


def refuse_unlike(folder: str | Path, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse a model of which some weights are not in the folder, or there with another shape.

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


def _other_shapes(model: PreTrainedModel) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
    """The 4-bit layers whose weights are not of the size of the layer: name, shape, and shape of the layer."""
    for name, layer in model.named_modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if state is not None and tuple(state.shape) != (wanted := (layer.out_features, layer.in_features)):
            yield f"{name}.weight", state.shape, wanted


def _json(path: Path) -> dict[str, Any]:
    """A file of settings; empty where there is none, or where transformers has to say what is wrong with it."""
    try:
        values = read_json(path)
    except DataError:
        return {}
    return values if isinstance(values, dict) else {}


def _wrong_kind(config: dict[str, Any]) -> str:
    """The name of an architecture that is no causal language model; "" where it is one, or none is named."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    names = [str(name) for name in config.get("architectures") or ()]
    causal = {name for value in KNOWN.values() for name in ((value,) if isinstance(value, str) else value)}
    return "" if not names or causal & set(names) else names[0]


def read_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, with the tokens that its ``tokenizer.json`` gives, where there is one.

    Raises:
        OSError, ValueError, KeyError: transformers cannot read it.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    found = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    path = Path(folder) / "tokenizer.json"
    if type(found) is PreTrainedTokenizerFast or not path.is_file():  # this class takes the file as it is
        return found
    written = Tokenizer.from_file(str(path))
    written.no_truncation()
    written.no_padding()
    if all(found(text, add_special_tokens=False)["input_ids"] == written.encode(text, add_special_tokens=False).ids
           for text in PROBES):
        return found
    return _with_special(PreTrainedTokenizerFast.from_pretrained(str(folder)), found)


def _with_special(tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """``tokenizer``, with the special tokens that the other one names, as far as it has them in its vocabulary."""
    vocabulary = tokenizer.get_vocab()
    for name in SPECIAL:
        token = getattr(other, name)
        if getattr(tokenizer, name) is None and token in vocabulary:
            setattr(tokenizer, name, token)
    return tokenizer


def fit_padding(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Give up a padding token that the model has no embedding for; what fills up a row is never read anyway."""
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = None
