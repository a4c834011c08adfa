"""Count, allocation by allocation, what a training step of the loop holds at its peak, on a device that is not there.

The true code runs on torch's meta device, where tensors have shapes and storages of a size, but no contents: a step of
a 7B model takes seconds and no memory. A dispatch mode sees every tensor that is made and every storage that is let go;
sizes are rounded up to 512 bytes, as CUDA's allocator does. What kernels take for themselves is not seen.

Two things stand in for what has no shape of its own there: 4-bit layers are tensors of as many bytes, and attention is
a function that keeps what PyTorch's memory-efficient kernel keeps (queries, keys, values, result, and a float32 sum for
every row and head).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from course_lib.models.memory import BITS, Shape
from course_lib.training import multi_lora
from course_lib.training.finetune import add_lora
from course_lib.training.packing import Target, target_logits
from course_lib.training.records import TuneConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

__all__ = ["Counted", "config_of", "count_step", "even_rows"]

BLOCK = 512


@dataclass(frozen=True, slots=True)
class Counted:
    """Bytes: with the model and its adapter loaded, at the peak of the step, and when its gradients are gathered."""

    loaded: int
    peak: int
    gathered: int


class _Counter(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.sizes: dict[int, int] = {}

    def note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = -(-storage.nbytes() // BLOCK) * BLOCK
            self.now += self.sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self.note(tensor)
        return made


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        ctx.save_for_backward(query, key, value, out, torch.empty(query.shape[:3], device=query.device))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(map(torch.empty_like, ctx.saved_tensors[:3]))


def even_rows(count: int, tokens: int, *, answer: int = 5, shared: int = 7) -> list[Target]:
    """Rows of one length that begin alike."""
    return [Target((1,) * shared + (2 + number % 2,) * (tokens - shared), tokens - answer) for number in range(count)]


def config_of(shape: Shape, tokenizer: PreTrainedTokenizerBase | None = None) -> PretrainedConfig:
    """A Llama of this shape; OLMo-2 or GPT-NeoX where the shape says so. Special tokens are those of ``tokenizer``."""
    from transformers import GPTNeoXConfig, LlamaConfig, Olmo2Config

    kind = Olmo2Config if shape.query_norms else LlamaConfig if shape.gated else GPTNeoXConfig
    heads = {} if kind is GPTNeoXConfig else {"num_key_value_heads": shape.keys // shape.head}
    return kind(hidden_size=shape.hidden, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
                num_attention_heads=shape.hidden // shape.head, vocab_size=shape.vocabulary, **heads,
                tie_word_embeddings=shape.tied, bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id if tokenizer else 0,
                pad_token_id=tokenizer.pad_token_id if tokenizer else 0)


def count_step(config: PretrainedConfig, rows: Sequence[Target], *, rank: int = 16,
               dtype: torch.dtype = torch.float16, copies: bool = False) -> Counted:
    """One step of a model that transformers makes of ``config``; ``copies``: the restored weights are kept."""
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).requires_grad_(False).eval()
        model = add_lora(model, TuneConfig(rank=rank))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    with _in_four_bits(model, dtype, copies):
        return _count(model, rows)


def _count(model: torch.nn.Module, rows: Sequence[Target]) -> Counted:
    counter, stacks = _Counter(), multi_lora.Stacks(model, ["default"])
    held = [*model.parameters(), *model.buffers(), stacks.weights,
            *(layer.weight for layer in stacks.layers if layer.weight is not None)]
    for tensor in held:
        counter.note(tensor)
    loaded = counter.now
    moments = [torch.empty_like(stacks.weights) for _ in range(2)]
    for tensor in moments:
        counter.note(tensor)
    with counter:
        with stacks.lines([0]):
            logits = target_logits(model, [rows], packed=True)
        wanted = torch.zeros(len(logits), dtype=torch.long, device="meta")
        loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
        del logits
        loss.mean().backward()
        gradients = stacks.take_gradients()
        gathered = counter.now
    return Counted(loaded, counter.peak, gathered + 0 * len(gradients))


@contextmanager
def _in_four_bits(model: torch.nn.Module, dtype: torch.dtype, copies: bool) -> Iterator[None]:
    """Each adapted layer's own weight becomes a tensor of 4.127 bits a weight, restored as bitsandbytes would."""
    for module in model.modules():
        if hasattr(module, "base_layer"):
            size = int(module.base_layer.weight.numel() * BITS[4] / 8)
            module.base_layer.weight = torch.nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"),
                                                          requires_grad=False)

    def restored(base: torch.nn.Linear) -> torch.Tensor:
        return torch.empty(base.out_features, base.in_features, dtype=dtype, device="meta")

    def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
        return _Attention.apply(query, key, value)

    with ExitStack() as stack:
        for name, stand_in in (("is_four_bit", lambda _: True), ("dense_fits", lambda *_: copies),
                               ("dequantised", restored)):
            stack.enter_context(mock.patch.object(multi_lora, name, stand_in))
        stack.enter_context(mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention))
        yield
