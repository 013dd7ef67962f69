"""Mamba, as `transformers.MambaForCausalLM` saves it."""

from __future__ import annotations

from lsrl.checkpoints.mamba_parts import MIXER, WHOLE
from lsrl.checkpoints.table import Architecture, Config, Scope


def _rank(config: Config) -> int:
    """Of the step sizes: a sixteenth of the width, rounded up, where it is `auto`."""
    rank = config["time_step_rank"]
    return -(-int(config["hidden_size"]) // 16) if rank == "auto" else int(rank)


MAMBA = Architecture(
    model_type="mamba",
    program="std/blocks/mamba_lm",
    sizes={
        "vocab": "vocab_size",
        "n_layer": "num_hidden_layers",
        "d_model": "hidden_size",
        "d_inner": lambda config: config["expand"] * config["hidden_size"],
        "d_state": "state_size",
        "dt_rank": _rank,
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
                "mixer.x_proj": "mixer.x_proj.weight",
                "mixer.dt_proj": "mixer.dt_proj.weight",
                "mixer.dt_proj_bias": "mixer.dt_proj.bias",
            },
        ),
    ),
    defaults={
        "expand": 2,
        "conv_kernel": 4,
        "time_step_rank": "auto",
        "use_bias": False,
        "tie_word_embeddings": True,
    },
    fixed={"hidden_act": "silu", "layer_norm_epsilon": 1e-5},
    ignored=("lm_head.weight",),
)
