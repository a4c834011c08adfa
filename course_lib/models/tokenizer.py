"""The tokenizer of a model's folder, as it is written there, and whether it belongs to the model.

transformers 5 builds the tokenizers of some families anew from the vocabulary alone, whatever tokenizer.json says of
the rest: a Qwen2 whose tokenizer is of another kind would read other tokens than it was trained with, and nothing
would tell. So the two are compared, and where they differ tokenizer.json is believed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.files import DataError, short
from course_lib.models.checks import PROBE, in_one_sentence

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["fit_padding", "read_tokenizer", "refuse_tokens"]

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
PROBES = (PROBE, "Answer the following question.\n  Rome (Italy),\t東京 St. John's, 12,345.6 km... Who?", " a", "a\n",
          "cafe\u0301")


def read_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, with the tokens that its ``tokenizer.json`` gives, where there is one.

    Raises:
        DataError: transformers cannot read it.
    """
    with in_one_sentence(f"{Path(folder) / 'tokenizer.json'} or tokenizer_config.json"):
        found = _believed_tokenizer(folder)
        if not found(PROBE)["input_ids"]:  # as it will be called; it may be only then that its settings are read
            raise DataError(f"{Path(folder) / 'tokenizer.json'}: makes no tokens of {PROBE!r}; take the tokenizer "
                            f"that belongs to this model")
    return found


def _believed_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
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


def refuse_tokens(folder: str | Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a tokenizer that can give a token without an embedding, or an end of text that is none of the tokens.

    More embeddings than tokens are common. Special tokens that stand in no text may lack one: many were added late.

    Raises:
        DataError: the message names the file, the token and both numbers.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    path = Path(folder) / "tokenizer.json"
    found = {token: number for token, number in tokenizer.get_vocab().items() if token not in special}
    found |= {name: number for name in ("bos_token", "eos_token", "unk_token")
              if (number := getattr(tokenizer, f"{name}_id")) is not None}
    found[f"put beside {PROBE!r}"] = max(tokenizer(PROBE)["input_ids"])  # special tokens with it
    token, number = max(found.items(), key=lambda pair: pair[1])
    if number >= rows:
        raise DataError(f"{path}: the token {short(token)} has the number {number}, and the model has embeddings for "
                        f"{rows} tokens, from 0; take the tokenizer that belongs to this model")
    ends = model.generation_config.eos_token_id
    for end in ends if isinstance(ends, list | tuple) else [ends]:
        if end is not None and (type(end) is not int or not 0 <= end < rows):
            name = "generation_config.json" if (path.parent / "generation_config.json").is_file() else "config.json"
            raise DataError(f"{path.with_name(name)}: eos_token_id = {short(ends)} is no token of the model; give "
                            f"numbers from 0 to {rows - 1}")
