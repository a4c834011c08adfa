"""Tiny random models of many architectures, with what each configuration needs and how it takes a shared prefix."""

import torch
import transformers

BASE = {"vocab_size": 99, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 128, "initializer_range": 0.15,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
# architecture -> what its configuration needs, and the way that it takes
FAMILIES = {
    "Llama": ({"num_key_value_heads": 2}, "reference"), "Olmo2": ({}, "reference"), "Qwen2": ({}, "reference"),
    "GPTNeoX": ({}, "reference"), "Mistral": ({"sliding_window": None}, "reference"),
    "Gemma": ({"head_dim": 16}, "reference"), "Phi3": ({}, "reference"), "Qwen3": ({"head_dim": 16}, "reference"),
    "GPT2": (GPT, "reference"), "OPT": ({"ffn_dim": 128, "word_embed_proj_dim": 64}, "reference"),
    "Mixtral": ({"num_local_experts": 4}, "reference"), "Granite": ({"logits_scaling": 4.0}, "reference"),
    "Gemma2": ({"head_dim": 16, "sliding_window": 6}, "copy"), "GPTJ": (GPT | {"rotary_dim": 8}, "copy"),
    "Bloom": ({"n_layer": 2, "n_head": 4}, "copy"), "Mamba": ({}, "none"),
}


def family(name: str, **more):
    make = getattr(transformers, f"{name}ForCausalLM", None) or getattr(transformers, f"{name}LMHeadModel")
    torch.manual_seed(0)
    return make(getattr(transformers, f"{name}Config")(**BASE | FAMILIES[name][0] | more)).eval()
