"""Checkpoints of RWKV and xLSTM compute what transformers computes with them, all at once and position by position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import transformers.models.rwkv.modeling_rwkv as hf_rwkv
import transformers.models.xlstm.modeling_xlstm as hf_xlstm
import xlstm.xlstm_large.components as xlstm_components

import lsrl
from lsrl.backends.arrays import Array
from lsrl.checkpoints import Checkpoint, CheckpointError, convert
from support.peers.double import in_double

B, T = 2, 9
RWKVS: tuple[Mapping[str, Any], ...] = (
    {"hidden_size": 6, "num_hidden_layers": 3},
    {"hidden_size": 6, "num_hidden_layers": 2, "attention_hidden_size": 4, "intermediate_size": 5},
    {"hidden_size": 6, "num_hidden_layers": 2, "tie_word_embeddings": True},
)
XLSTMS: tuple[Mapping[str, Any], ...] = (
    {"hidden_size": 8, "num_heads": 2, "num_hidden_layers": 3, "ffn_round_up_to_multiple_of": 4},
    {"hidden_size": 12, "num_heads": 3, "num_hidden_layers": 2, "qk_dim_factor": 1.0, "v_dim_factor": 2.0},
)


def rwkv(settings: Mapping[str, Any]) -> hf_rwkv.RwkvForCausalLM:
    return hf_rwkv.RwkvForCausalLM(hf_rwkv.RwkvConfig(vocab_size=11, use_cache=False, **settings)).double()


def xlstm(settings: Mapping[str, Any]) -> hf_xlstm.xLSTMForCausalLM:
    plain = {"mode": "train", "chunk_size": T, "norm_reduction_force_float32": False, "use_cache": False}
    return hf_xlstm.xLSTMForCausalLM(hf_xlstm.xLSTMConfig(vocab_size=11, **plain, **settings)).double()


def scattered(model: torch.nn.Module) -> None:
    """Every parameter moved at random, so that none is 0 or 1 and each of them counts."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)


def tokens() -> torch.Tensor:
    return torch.arange(B * T).reshape(B, T) ** 2 % 11


def logits_by_steps(checkpoint: Checkpoint, given: Array) -> Array:
    model = lsrl.compile(checkpoint.program, target="reference", sizes=checkpoint.sizes)
    state, kept = model.initial_state(checkpoint.params, B), []
    for t in range(T):
        result = model.step(checkpoint.params, {"token": given[:, t]}, state)
        state = result.state
        kept.append(result.outputs["logits"])
    return np.stack(kept, 1)


def check(model: Any, atol: float = 1e-10) -> None:
    """Their logits and ours.  The tensors are taken first: RWKV rescales its own when it is not in training."""
    scattered(model)
    checkpoint = convert(model.config, {name: tensor.clone() for name, tensor in model.state_dict().items()})
    with torch.no_grad(), in_double(hf_rwkv, hf_xlstm, xlstm_components):
        wanted = model.eval()(tokens()).logits.numpy()
    ours = lsrl.compile(checkpoint.program, target="reference", sizes=checkpoint.sizes)
    given = tokens().numpy()
    np.testing.assert_allclose(ours(checkpoint.params, {"token": given}).outputs["logits"], wanted, rtol=0, atol=atol)
    np.testing.assert_allclose(logits_by_steps(checkpoint, given), wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("settings", RWKVS, ids=["square", "widths", "tied"])
def test_rwkv_has_the_logits_of_transformers(settings: Mapping[str, Any]) -> None:
    check(rwkv(settings))


@pytest.mark.parametrize("settings", XLSTMS, ids=["factors", "wide"])
def test_xlstm_has_the_logits_of_transformers(settings: Mapping[str, Any]) -> None:
    check(xlstm(settings))


def test_rwkv_is_rescaled_for_inference_but_for_what_its_norms_add_to_variances() -> None:
    check(rwkv({**RWKVS[0], "rescale_every": 1}), atol=1e-4)


@pytest.mark.parametrize(("name", "value"), [("use_bias", True), ("weight_mode", "fused"), ("gate_soft_cap", 10.0)])
def test_an_xlstm_that_computes_something_else_is_refused(name: str, value: Any) -> None:
    config = xlstm(XLSTMS[0]).config.to_dict()
    with pytest.raises(CheckpointError, match=name):
        convert({**config, name: value}, {})
