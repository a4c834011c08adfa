"""Pre-train the pocket model: a byte-level BPE tokenizer and a 4-layer Llama, one pass over the corpus.

All documents are joined with the end-of-text token and cut into rows of equal length, so nothing is padded. Sizes
are multiples of 64 because bitsandbytes quantises in blocks of 64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["PretrainConfig", "pretrain", "rows_of", "train_tokenizer"]

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """Sizes of the model and of the training: ``batch`` rows of ``length`` tokens a step."""

    seed: int = 2
    vocabulary: int = 2048
    hidden: int = 192
    intermediate: int = 512
    layers: int = 4
    heads: int = 3
    length: int = 256
    batch: int = 8
    lr: float = 3e-3
    warmup: float = 0.05
    weight_decay: float = 0.1
    clip: float = 1.0


def train_tokenizer(documents: Iterable[str], config: PretrainConfig = PretrainConfig()) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; padding and end of text are two different tokens, neither is added by itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=config.vocabulary, special_tokens=[END_OF_TEXT, PADDING],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=PADDING,
                                   clean_up_tokenization_spaces=False)


def rows_of(documents: list[str], tokenizer: PreTrainedTokenizerFast, length: int) -> torch.Tensor:
    """The corpus as one tensor of token ids, shape (rows, length); the last, incomplete row is dropped."""
    import torch

    ids: list[int] = []
    for encoded in tokenizer(documents, add_special_tokens=False)["input_ids"]:
        ids += [*encoded, tokenizer.eos_token_id]
    rows = len(ids) // length
    return torch.tensor(ids[:rows * length]).view(rows, length)


def new_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A Llama with random weights that fits the tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(config.seed)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=config.vocabulary, hidden_size=config.hidden, intermediate_size=config.intermediate,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.heads,
        max_position_embeddings=2 * config.length, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


def pretrain(rows: torch.Tensor, tokenizer: PreTrainedTokenizerFast, config: PretrainConfig = PretrainConfig(), *,
             progress: bool = True) -> PreTrainedModel:
    """One pass of AdamW with warm-up and cosine decay over ``rows`` (rows, length); returns the model in eval mode."""
    import torch
    from tqdm.auto import tqdm

    model = new_model(config, tokenizer)
    steps = len(rows) // config.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, config.warmup))
    bar = tqdm(range(steps), desc="pre-training", disable=not progress, mininterval=1)
    for step in bar:
        batch = rows[step * config.batch:(step + 1) * config.batch]  # (batch, length)
        with torch.autocast("cpu", torch.bfloat16, enabled=_fast_bfloat16()):
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss  # mean -log p(next token)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    return model.eval()


def _rate(step: int, steps: int, warmup: float) -> float:
    first = max(1, round(warmup * steps))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


def _fast_bfloat16() -> bool:
    # bfloat16 is two to three times faster where the processor has it natively, and slower elsewhere
    import torch

    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
