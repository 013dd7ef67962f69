"""Mamba-2, as `transformers.Mamba2ForCausalLM` saves it."""

from __future__ import annotations

from math import inf

from lsrl.checkpoints.table import Architecture, Scope, Source

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
        Scope(
            ours="",
            theirs="",
            params={
                "embeddings": "backbone.embeddings.weight",
                "norm_f_weight": "backbone.norm_f.weight",
                "lm_head": "lm_head.weight",
            },
        ),
        Scope(
            ours="layers.*",
            theirs="backbone.layers.{}",
            params={
                "norm_weight": "norm.weight",
                "mixer.in_proj": "mixer.in_proj.weight",
                "mixer.in_proj_bias": "mixer.in_proj.bias",
                "mixer.conv1d.weight": Source("mixer.conv1d.weight", reshape=True),
                "mixer.conv1d.bias": Source("mixer.conv1d.bias", absent=0),
                "mixer.dt_bias": "mixer.dt_bias",
                "mixer.A_log": "mixer.A_log",
                "mixer.D": "mixer.D",
                "mixer.norm_weight": "mixer.norm.weight",
                "mixer.out_proj": "mixer.out_proj.weight",
                "mixer.out_proj_bias": "mixer.out_proj.bias",
            },
        ),
    ),
    defaults={"conv_kernel": 4, "use_bias": False, "tie_word_embeddings": False},
    fixed={"hidden_act": "silu", "layer_norm_epsilon": 1e-5, "time_step_limit": [0.0, inf]},
    ignored=("lm_head.weight",),
)
