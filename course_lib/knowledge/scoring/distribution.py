"""The distribution that a sampler draws the next token from, as transformers makes it.

    logits / T, then the k best (all that tie with the k-th stay), then the smallest set that holds the mass p

``generate`` also obeys settings that are stored with a model. Those that would change the distribution are refused by
name, never ignored.

The right logits of a token are those of one forward pass over the text before it, alone and without padding. All ways
of :mod:`.shared_prefix` are held to that. A rotary embedding that changes with the length of the text (longrope,
dynamic NTK) makes another function of the model beyond an edge: there one pass over a whole text no longer gives the
logits of its beginning, and ``generate`` with a KV cache mixes both. Beyond the edge there is no one right number, so a
model's :func:`room` ends there, as it ends at its context.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.files import CourseError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["NOT_FINITE", "Distribution", "NextToken", "Room", "refuse_changed_distribution", "room", "stated"]

NOT_FINITE = "the model gave non-finite logits (NaN or inf) here; load it in float32 or bfloat16"
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length",
            "context_length", "max_target_positions")  # what architectures call the length of their context
_POSITIONS = re.compile(r"(^|\.)(wpe|embed_positions|positions?_embed\w*)$")  # a learned vector for each position
_STEADY = {"default", "linear", "yarn", "llama3", "proportional", "mrope"}  # rotary embeddings of every length alike

# settings of generate that change what is written, with the value that changes nothing
_NEUTRAL = {"repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
            "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None, "suppress_tokens": None,
            "begin_suppress_tokens": None, "sequence_bias": None, "min_length": 0, "min_new_tokens": 0,
            "forced_eos_token_id": None, "forced_bos_token_id": None, "exponential_decay_length_penalty": None,
            "guidance_scale": 1.0, "num_beams": 1, "stop_strings": None, "penalty_alpha": None, "dola_layers": None,
            "watermarking_config": None, "token_healing": False, "constraints": None, "force_words_ids": None}
_NEUTRAL_SAMPLING = {"min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "top_h": None}


@dataclass(frozen=True, slots=True)
class Distribution:
    """Temperature above 0; ``top_k`` tokens, 0 for all; ``top_p`` in (0, 1], 1 for all.

    Raises:
        CourseError: a value outside these ranges.
    """

    temperature: float
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise CourseError(f"temperature {self.temperature}: it must be above 0; None computes only whether the "
                              f"greedy answer matches")
        if self.top_k < 0:
            raise CourseError(f"top_k {self.top_k}: it must be 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise CourseError(f"top_p {self.top_p}: it must be above 0 and at most 1 (all tokens)")

    def next_token(self, logits: torch.Tensor) -> NextToken:
        """Distribution at N steps, from logits (N, V)."""
        if self.top_p < 1:
            for warp in self.warpers():
                logits = warp(None, logits)
            return NextToken(logits, None, logits.logsumexp(-1))
        scaled = logits / self.temperature  # (N, V)
        if not 0 < self.top_k < logits.shape[-1]:
            return NextToken(scaled, None, scaled.logsumexp(-1))
        best, following = _largest(scaled, self.top_k)  # (N, k), (N, 1)
        cut = best.amin(-1, keepdim=True)  # the k-th largest, (N, 1)
        if (following == cut).any():  # transformers keeps all that tie with the k-th
            best = scaled.masked_fill(scaled < cut, float("-inf"))
        return NextToken(scaled, cut, best.double().logsumexp(-1))

    def warpers(self) -> list[Any]:
        """The logits processors that ``generate`` would use, in its order."""
        from transformers import generation as hf

        return [hf.TemperatureLogitsWarper(float(self.temperature)),
                *([hf.TopKLogitsWarper(self.top_k)] if self.top_k else []),
                *([hf.TopPLogitsWarper(float(self.top_p))] if self.top_p < 1 else [])]


def _largest(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row of ``values`` (N, V), in any order (N, k), and the one that follows them (N, 1)."""
    import torch

    if values.device.type != "cpu":
        best = values.topk(k + 1, dim=-1).values
        return best[:, :k], best[:, k:]
    place = values.shape[1] - k  # numpy's selection is some three times as fast as topk on a CPU
    parted = torch.from_numpy(np.partition(values.numpy(), (place - 1, place), axis=1))
    return parted[:, place:], parted[:, place - 1:place]


@dataclass(frozen=True, slots=True)
class NextToken:
    """N distributions: scaled logits (N, V), the value below which tokens are cut off (N, 1), log of the sum (N,)."""

    scaled: torch.Tensor
    cut: torch.Tensor | None
    log_total: torch.Tensor

    def log_probability(self, steps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Natural logarithms (n, m) in float64 of ``tokens`` (n, m) at ``steps`` (n,); -inf where cut off."""
        found = self.scaled[steps[:, None], tokens]  # (n, m)
        if self.cut is not None:
            found = found.masked_fill(found < self.cut[steps], float("-inf"))
        return found.double() - self.log_total[steps, None].double()  # z_t - log sum exp z


def refuse_changed_distribution(model: PreTrainedModel, *, top_p: float | None = None, sampling: bool = True) -> None:
    """Refuse a model from whose own distribution ``generate`` would not draw.

    ``top_p`` is what the caller asked for; without it, a top-p stored with the model is refused too. Only greedy
    decoding (``sampling=False``) does not care about top-p and the like. Temperature and top-k are always the caller's.

    Raises:
        CourseError: for example a repetition penalty in the model's generation_config; the message names it. Or the
            model has an encoder.
    """
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise CourseError(f"{type(model).__name__} has an encoder; give a causal language model, one that continues "
                          f"a text")
    config = model.generation_config
    neutral = _NEUTRAL | (_NEUTRAL_SAMPLING if sampling else {})
    for name, value in neutral.items():
        found = getattr(config, name, None)
        if found not in (None, value, []):
            raise CourseError(f"generation_config.{name} = {found} changes what the model answers; set "
                              f"model.generation_config.{name} = {value} before scoring, and say so in your report")
    found = getattr(config, "top_p", None)
    if sampling and top_p is None and found not in (None, 1.0):
        raise CourseError(f"generation_config.top_p = {found} changes what the model samples; pass top_p={found} to "
                          f"follow it, or top_p=1 to leave it out")


@dataclass(frozen=True, slots=True)
class Room:
    """Number of tokens that a text may have, infinite where nothing limits it, and why, as the end of a sentence."""

    tokens: float
    why: str


def room(model: PreTrainedModel) -> Room:
    """The longest text whose logits mean something: the context, or where the model becomes another function."""
    contexts = [found for name in _CONTEXT if isinstance(found := stated(model, name), int) and found > 0]
    context = min([math.inf, *contexts, *_position_tables(model)])
    what, edge = min(_edges(model), key=lambda found: found[1], default=("", math.inf))
    if edge < context:
        return Room(edge, f"the model's {what} changes after {edge:,}")
    return Room(context, f"the model reads {context:,}")


def stated(model: PreTrainedModel, name: str) -> Any:
    """Value of the configuration of the model, or of its language part; None where there is none."""
    config = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    try:
        return getattr(config, name, None)
    except (NotImplementedError, AttributeError):  # XLNet has no context; Gemma 4 has a value for each layer
        return None


def _position_tables(model: PreTrainedModel) -> Iterator[int]:
    """Positions that the model has a vector for; some tables begin with rows that stand for no position."""
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and _POSITIONS.search(name):
            unused = -1 if module.padding_idx is None else module.padding_idx
            yield module.num_embeddings - getattr(module, "offset", unused + 1)


def _edges(model: PreTrainedModel) -> Iterator[tuple[str, int]]:
    """Parts that are another function for longer texts, and the last length before; unknown rotary ones included."""
    for name in ("index_topk", "keep_window_size"):  # DeepSeek V3.2, Doge
        if kept := stated(model, name):  # which of two equal keys is dropped depends on how many there are
            yield "sparse attention", kept
    given = stated(model, "rope_parameters") or {}
    for rope in (given, *given.values()):  # one for all layers, or one for each kind of layer
        kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
        if kind not in _STEADY:
            edges = (rope.get("original_max_position_embeddings"), stated(model, "max_position_embeddings"))
            # "dynamic" is reset only below its edge, so that at the edge it depends on the texts before
            yield from ((f"rotary embedding ({kind})", edge - ("dynamic" in kind)) for edge in edges if edge)
