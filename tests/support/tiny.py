"""Tiny models of real architectures with random weights, and tokenizers of every family, made in a second each."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from course_lib.data.facts import Fact
from course_lib.knowledge.scoring.prompts import Prompt, encode, few_shot_prompt

SUBJECTS = ("Ana Ruiz", "Bo Chen", "Cem Öz", "Dag Lie", "Eva Novák", "Fu Wei", "Gil Paz", "Hana Ito")
ANSWERS = ("Paris", "New York City", "Apple Inc.", "São Tomé", "Rome (Italy)", "St. John's", "Łódź", "A.B.", "1984",
           "Washington, D.C.", "東京", "Who?", "Mr. X...", "Ulm")
FACTS = tuple(Fact(subject, "P19", answer) for subject, answer in zip(SUBJECTS, ANSWERS, strict=False))
CORPUS = [f"Q: Where was {subject} born?\nA: {answer}\n\nQ: Who is {subject}'s child?\nA: {answer}\n{answer}"
          f"\nAnswer the following question.\nWhere was {subject} born? {answer}" for subject in SUBJECTS
          for answer in ANSWERS]
ONE_LINE = [text.replace("\n", " ") for text in CORPUS]  # real sentencepiece vocabularies hold newlines as bytes alone
FEW_SHOT = few_shot_prompt([Fact("Ida", "P19", "Apple Inc."), Fact("Jo", "P19", "Rome (Italy)")])
PLAIN = Prompt("", "{question}")

# transformers/models/qwen2: a full stop and the newlines after it are one piece, so ".\n" can be one token
QWEN_PIECES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")


def _fast(tokenizer: Tokenizer, **special) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


def _train(tokenizer: Tokenizer, special: list[str], size: int, alphabet: list[str] = (), texts=CORPUS) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=list(alphabet),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def gpt2_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE, nothing added; end of text is the padding too."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, ["<|endoftext|>"], 400, pre_tokenizers.ByteLevel.alphabet())
    return _fast(tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", pad_token="<|endoftext|>")


def qwen_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE in Qwen2's pieces, with its NFC normaliser; no beginning of text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, ["<|endoftext|>", "<|im_end|>"], 420, pre_tokenizers.ByteLevel.alphabet())
    return _fast(tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>", extra_special_tokens=["<|im_end|>"])


def llama_like() -> PreTrainedTokenizerFast:
    """Sentencepiece's way with BPE: spaces are marked, unknown letters fall back to bytes, <s> is put in front."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _train(tokenizer, ["<unk>", "<s>", "</s>"], 220, texts=ONE_LINE)
    vocabulary, merges = _with_bytes(tokenizer.get_vocab()), _merges(tokenizer)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    _finish_sentencepiece(tokenizer, "<s> $A")
    return _fast(tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def unigram_like() -> PreTrainedTokenizerFast:
    """Sentencepiece's way with a unigram model; <s> is put in front and </s> at the end; it has its own padding."""
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    vocabulary = _with_bytes(_train(tokenizer, special, 180, texts=ONE_LINE).get_vocab())
    # training a unigram model is not deterministic; these scores prefer few and common pieces
    pieces = [(piece, -20.0 if piece.startswith("<0x") else -5 - i / 50) for piece, i in vocabulary.items()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _finish_sentencepiece(tokenizer, "<s> $A </s>")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return _fast(tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _with_bytes(vocabulary: dict[str, int]) -> dict[str, int]:
    kept = sorted(vocabulary, key=vocabulary.get)
    return {token: i for i, token in enumerate([*kept, *(f"<0x{byte:02X}>" for byte in range(256))])}


def _finish_sentencepiece(tokenizer: Tokenizer, template: str) -> None:
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)


TOKENIZERS = {"gpt2": gpt2_like, "qwen": qwen_like, "llama": llama_like, "unigram": unigram_like}

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 512}
# name -> that of its classes in transformers, and what its configuration needs
ARCHITECTURES = {"llama": ("Llama", {"num_key_value_heads": 2}), "olmo2": ("Olmo2", {"num_key_value_heads": 4}),
                 "qwen2": ("Qwen2", {"num_key_value_heads": 2}), "neox": ("GPTNeoX", {}),
                 "mistral": ("Mistral", {"num_key_value_heads": 2})}
FAST = {("llama", "llama"), ("olmo2", "unigram"), ("qwen2", "qwen"), ("neox", "gpt2"), ("mistral", "gpt2")}


def pair_marks(architecture: str, tokenizer: str):
    """The marks of a test of this pair: each architecture and each tokenizer has a fast one, the others are slow."""
    return () if (architecture, tokenizer) in FAST else pytest.mark.slow


def newlines(tokenizer) -> list[int]:
    """Tokens that begin with a newline, read off the vocabulary itself: no decoder is trusted."""
    return sorted(token for text, token in tokenizer.get_vocab().items() if text.startswith(("Ċ", "\n", "<0x0A>")))


def _odd(tokenizer) -> list[int]:
    """Tokens that are no text by themselves: bytes, parts of letters, control characters."""
    return [token for token in range(len(tokenizer)) if not tokenizer.decode([token]).isprintable()
            or "\ufffd" in tokenizer.decode([token])]


def plain_model(architecture: str, tokenizer, *, seed: int = 0, padded: int = 0, **more):
    """A random model as transformers makes it; ``padded`` rows more than the tokenizer has tokens, as Qwen2 has."""
    torch.manual_seed(seed)
    name, own = ARCHITECTURES[architecture]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer) + padded, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **SIZES | own | more)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def tiny_model(architecture: str, tokenizer, *, end_bias: float = 6.0, spread: float = 4.0, **more):
    """A random model whose logits have standard deviation ``spread``, so that some tokens are likely.

    ``end_bias`` is added to the logits of newlines and of the end of text, so that most texts end after a few tokens.
    """
    model = plain_model(architecture, tokenizer, **{"tie_word_embeddings": False, "initializer_range": 0.15} | more)
    head = torch.nn.Linear(SIZES["hidden_size"], model.config.vocab_size)
    torch.nn.init.normal_(head.weight, std=spread / SIZES["hidden_size"] ** 0.5)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.bias[_odd(tokenizer)] -= 3
        head.bias[[*newlines(tokenizer), tokenizer.eos_token_id]] += end_bias
    model.set_output_embeddings(head)
    return model.eval()


def saved_model(folder: Path, architecture: str, tokenizer, *, seed: int = 0, stored: torch.dtype = torch.float32,
                **more) -> Path:
    """A folder as save_pretrained writes it, of a random model whose biases, where it has some, are not zero."""
    model = plain_model(architecture, tokenizer, seed=seed, **{"initializer_range": 0.1} | more)
    with torch.no_grad():
        for name, bias in model.named_parameters():
            if name.endswith("bias"):
                bias.normal_(std=0.1)  # as of a trained model
    model.to(stored).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def let_texts_end(model, tokenizer, texts: list[str]) -> None:
    """Give the output layer of a loaded model a bias to newlines and end of text; a quarter of the texts is empty."""
    head, ends = model.get_output_embeddings(), [*newlines(tokenizer), tokenizer.eos_token_id]
    with torch.no_grad():
        rows = torch.stack([model(torch.tensor([ids])).logits[0, -1] for ids in encode(tokenizer, texts)])
        head.weight.mul_(scale := 4 / rows.std())
        rows *= scale
        head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)), requires_grad=False)
        head.bias[ends] = (rows.amax(-1) - rows[:, ends].amax(-1)).quantile(0.25)
