"""RWKV-4, as `transformers.RwkvForCausalLM` saves it."""

from __future__ import annotations

from lsrl.checkpoints.table import Architecture, Config, Scope, Source


def _attention_width(config: Config) -> int:
    return int(config["attention_hidden_size"] or config["hidden_size"])


def _feed_forward_width(config: Config) -> int:
    return int(config["intermediate_size"] or 4 * config["hidden_size"])


def _mix(tensor: str) -> Source:
    """A shift mix, saved as [1, 1, D]."""
    return Source(tensor, reshape=True)


def _table(*, tied: bool) -> Architecture:
    """With a head of its own, or with the embeddings for a head."""
    return Architecture(
        model_type="rwkv",
        program="std/blocks/rwkv4_lm",
        sizes={
            "V": "vocab_size",
            "D": "hidden_size",
            "L": "num_hidden_layers",
            "A": _attention_width,
            "I": _feed_forward_width,
        },
        scopes=(
            Scope(
                ours="",
                theirs="",
                params={
                    "embeddings": "rwkv.embeddings.weight",
                    "pre_ln_weight": "rwkv.blocks.0.pre_ln.weight",
                    "pre_ln_bias": "rwkv.blocks.0.pre_ln.bias",
                    "ln_out_weight": "rwkv.ln_out.weight",
                    "ln_out_bias": "rwkv.ln_out.bias",
                    "head": "rwkv.embeddings.weight" if tied else "head.weight",
                },
            ),
            Scope(
                ours="blocks.*",
                theirs="rwkv.blocks.{}",
                params={
                    "ln1_weight": "ln1.weight",
                    "ln1_bias": "ln1.bias",
                    "attention.time_decay": "attention.time_decay",
                    "attention.time_first": "attention.time_first",
                    "attention.time_mix_key": _mix("attention.time_mix_key"),
                    "attention.time_mix_value": _mix("attention.time_mix_value"),
                    "attention.time_mix_receptance": _mix("attention.time_mix_receptance"),
                    "attention.key": "attention.key.weight",
                    "attention.value": "attention.value.weight",
                    "attention.receptance": "attention.receptance.weight",
                    "attention.out": "attention.output.weight",
                    "ln2_weight": "ln2.weight",
                    "ln2_bias": "ln2.bias",
                    "feed_forward.time_mix_key": _mix("feed_forward.time_mix_key"),
                    "feed_forward.time_mix_receptance": _mix("feed_forward.time_mix_receptance"),
                    "feed_forward.key": "feed_forward.key.weight",
                    "feed_forward.receptance": "feed_forward.receptance.weight",
                    "feed_forward.value": "feed_forward.value.weight",
                },
            ),
        ),
        defaults={"attention_hidden_size": None, "intermediate_size": None},
        fixed={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": tied},
        ignored=("head.weight",) if tied else (),
    )


RWKV = _table(tied=False)
RWKV_TIED = _table(tied=True)
