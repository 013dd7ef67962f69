"""RecurrentGemma, as `transformers.RecurrentGemmaForCausalLM` saves it: Griffin, and Hawk where no layer attends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsrl.checkpoints.table import Architecture, Config, Scope, Source


def _bfloat16(number: float) -> float:
    """The nearest number of 8 bits, ties to even: embeddings are scaled by such a one."""
    bits = int(np.float32(number).view(np.uint32))
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(np.uint32(rounded).view(np.float32))


_MODEL = Scope(
    ours="",
    theirs="",
    params={
        "embed_tokens": "model.embed_tokens.weight",
        "final_norm": "model.final_norm.weight",
        "lm_head": "lm_head.weight",
    },
)

_MLP: Mapping[str, str] = {
    "temporal_pre_norm": "temporal_pre_norm.weight",
    "channel_pre_norm": "channel_pre_norm.weight",
    "mlp_block.gate_proj": "mlp_block.gate_proj.weight",
    "mlp_block.gate_proj_bias": "mlp_block.gate_proj.bias",
    "mlp_block.up_proj": "mlp_block.up_proj.weight",
    "mlp_block.up_proj_bias": "mlp_block.up_proj.bias",
    "mlp_block.down_proj": "mlp_block.down_proj.weight",
    "mlp_block.down_proj_bias": "mlp_block.down_proj.bias",
}

_RECURRENT: Mapping[str, str | Source] = {
    **_MLP,
    "temporal_block.linear_y": "temporal_block.linear_y.weight",
    "temporal_block.linear_y_bias": "temporal_block.linear_y.bias",
    "temporal_block.linear_x": "temporal_block.linear_x.weight",
    "temporal_block.linear_x_bias": "temporal_block.linear_x.bias",
    "temporal_block.linear_out": "temporal_block.linear_out.weight",
    "temporal_block.linear_out_bias": "temporal_block.linear_out.bias",
    "temporal_block.conv1d.weight": Source("temporal_block.conv_1d.weight", reshape=True),
    "temporal_block.conv1d.bias": "temporal_block.conv_1d.bias",
    "temporal_block.rg_lru.Wa": "temporal_block.rg_lru.recurrent_gate_weight",
    "temporal_block.rg_lru.ba": "temporal_block.rg_lru.recurrent_gate_bias",
    "temporal_block.rg_lru.Wx": "temporal_block.rg_lru.input_gate_weight",
    "temporal_block.rg_lru.bx": "temporal_block.rg_lru.input_gate_bias",
    "temporal_block.rg_lru.lambda_": Source("temporal_block.rg_lru.recurrent_param", reshape=True),
}

_ATTENTION: Mapping[str, str] = {
    **_MLP,
    "temporal_block.q_proj": "temporal_block.q_proj.weight",
    "temporal_block.k_proj": "temporal_block.k_proj.weight",
    "temporal_block.v_proj": "temporal_block.v_proj.weight",
    "temporal_block.q_proj_bias": "temporal_block.q_proj.bias",
    "temporal_block.k_proj_bias": "temporal_block.k_proj.bias",
    "temporal_block.v_proj_bias": "temporal_block.v_proj.bias",
    "temporal_block.o_proj": "temporal_block.o_proj.weight",
    "temporal_block.o_proj_bias": "temporal_block.o_proj.bias",
}


def _after_groups(config: Config, turn: int) -> int:
    return int(config["num_hidden_layers"]) // 3 * 3 + turn


def _key_heads(config: Config) -> int:
    return int(config["num_key_value_heads"] or config["num_attention_heads"])


HAWK = Architecture(
    model_type="recurrent_gemma",
    program="std/blocks/hawk_lm",
    sizes={
        "V": "vocab_size",
        "D": "hidden_size",
        "N": "num_attention_heads",
        "P": lambda config: config["hidden_size"] / config["num_attention_heads"],
        "L": "num_hidden_layers",
        "F": lambda config: config["intermediate_size"] / 2,
        "K": "conv1d_width",
        "cap": "logits_soft_cap",
        "untied": lambda config: not config["tie_word_embeddings"],
    },
    scopes=(_MODEL, Scope("layers.*", "model.layers.{}", _RECURRENT)),
    defaults={
        "num_key_value_heads": None,
        "conv1d_width": 4,
        "logits_soft_cap": 30,
        "rope_theta": 10000,
        "attention_bias": False,
        "tie_word_embeddings": True,
    },
    fixed={
        "block_types": ["recurrent"],
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "lru_width": lambda config: config["hidden_size"],
    },
    ignored=("lm_head.weight",),
    computed={"normalizer": lambda config: _bfloat16(config["hidden_size"] ** 0.5)},
)

GRIFFIN = Architecture(
    model_type="recurrent_gemma",
    program="std/blocks/griffin_lm",
    sizes={
        **HAWK.sizes,
        "G": _key_heads,
        "W": "attention_window_size",
        "base": "rope_theta",
        "bias": "attention_bias",
    },
    scopes=(
        _MODEL,
        Scope("groups.*.recurrent.*", "model.layers.{}", _RECURRENT, lambda config, group, turn: 3 * group + turn),
        Scope("groups.*.attention", "model.layers.{}", _ATTENTION, lambda config, group: 3 * group + 2),
        Scope("rest.*", "model.layers.{}", _RECURRENT, _after_groups),
    ),
    defaults=HAWK.defaults,
    fixed={
        **HAWK.fixed,
        "block_types": ["recurrent", "recurrent", "attention"],
        "partial_rotary_factor": 0.5,
        "rope_type": "default",
    },
    ignored=HAWK.ignored,
    computed=HAWK.computed,
)
