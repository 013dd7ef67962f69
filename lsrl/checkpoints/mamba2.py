"""Mamba-2, as `transformers.Mamba2ForCausalLM` saves it."""

from __future__ import annotations

from math import inf

from lsrl.checkpoints.mamba_parts import MIXER, WHOLE
from lsrl.checkpoints.table import Architecture, Scope

MAMBA2 = Architecture(
    model_type="mamba2",
    program="std/blocks/mamba2_lm",
    sizes={
        "vocab": "vocab_size",
        "d_model": "hidden_size",
        "nheads": "num_heads",
        "n_layer": "num_hidden_layers",
        "headdim": "head_dim",
        "ngroups": "n_groups",
        "d_state": "state_size",
        "d_conv": "conv_kernel",
        "bias": "use_bias",
        "untied": lambda config: not config["tie_word_embeddings"],
    },
    scopes=(
        WHOLE,
        Scope(
            ours="layers.*",
            theirs="backbone.layers.{}",
            params={
                **MIXER,
                "mixer.dt_bias": "mixer.dt_bias",
                "mixer.norm_weight": "mixer.norm.weight",
            },
        ),
    ),
    defaults={"conv_kernel": 4, "use_bias": False, "tie_word_embeddings": False},
    fixed={"hidden_act": "silu", "layer_norm_epsilon": 1e-5, "time_step_limit": [0.0, inf]},
    ignored=("lm_head.weight",),
)
