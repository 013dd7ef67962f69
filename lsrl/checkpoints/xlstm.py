"""xLSTM 7B and its kind, as `transformers.xLSTMForCausalLM` saves it."""

from __future__ import annotations

from collections.abc import Callable

from lsrl.checkpoints.table import Architecture, Config, Scope


def _width_of_head(factor: str) -> Callable[[Config], int]:
    return lambda config: int(config["hidden_size"] * config[factor]) // int(config["num_heads"])


def _feed_forward_width(config: Config) -> int:
    """The package's multiple of the width, rounded up to a whole number of its units."""
    unit = int(config["ffn_round_up_to_multiple_of"])
    return int((config["hidden_size"] * config["ffn_proj_factor"] + unit - 1) // unit) * unit


XLSTM = Architecture(
    model_type="xlstm",
    program="std/blocks/xlstm_lm",
    sizes={
        "V": "vocab_size",
        "D": "hidden_size",
        "L": "num_hidden_layers",
        "N": "num_heads",
        "K": _width_of_head("qk_dim_factor"),
        "P": _width_of_head("v_dim_factor"),
        "F": _feed_forward_width,
    },
    scopes=(
        Scope(
            ours="",
            theirs="",
            params={
                "embeddings": "backbone.embeddings.weight",
                "out_norm": "backbone.out_norm.weight",
                "head": "lm_head.weight",
            },
        ),
        Scope(
            ours="blocks.*",
            theirs="backbone.blocks.{}",
            params={
                "norm_mlstm": "norm_mlstm.weight",
                "mlstm_layer.q": "mlstm_layer.q.weight",
                "mlstm_layer.k": "mlstm_layer.k.weight",
                "mlstm_layer.v": "mlstm_layer.v.weight",
                "mlstm_layer.ogate_preact": "mlstm_layer.ogate_preact.weight",
                "mlstm_layer.igate_preact_weight": "mlstm_layer.igate_preact.weight",
                "mlstm_layer.igate_preact_bias": "mlstm_layer.igate_preact.bias",
                "mlstm_layer.fgate_preact_weight": "mlstm_layer.fgate_preact.weight",
                "mlstm_layer.fgate_preact_bias": "mlstm_layer.fgate_preact.bias",
                "mlstm_layer.multihead_norm": "mlstm_layer.multihead_norm.weight",
                "mlstm_layer.out_proj": "mlstm_layer.out_proj.weight",
                "norm_ffn": "norm_ffn.weight",
                "ffn.proj_up_gate": "ffn.proj_up_gate.weight",
                "ffn.proj_up": "ffn.proj_up.weight",
                "ffn.proj_down": "ffn.proj_down.weight",
            },
        ),
    ),
    defaults={
        "num_hidden_layers": 32,
        "num_heads": 8,
        "qk_dim_factor": 0.5,
        "v_dim_factor": 1.0,
        "ffn_proj_factor": 2.667,
        "ffn_round_up_to_multiple_of": 64,
    },
    fixed={
        "use_bias": False,
        "add_out_norm": True,
        "tie_word_embeddings": False,
        "norm_eps": 1e-6,
        "eps": 1e-6,
        "gate_soft_cap": 15.0,
        "output_logit_soft_cap": 30.0,
        "weight_mode": "single",
    },
)
