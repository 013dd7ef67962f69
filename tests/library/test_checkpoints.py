"""Checkpoints of transformers' models give the same logits in ours, at once and position by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2
from transformers.models.recurrent_gemma import modeling_recurrent_gemma

import lsrl
from lsrl import checkpoints
from support.peers.blocks_ssm import gemma_in_double
from support.peers.double import in_double

B, T = 2, 9
VOCAB = 11

MAMBA = {"vocab_size": VOCAB, "hidden_size": 6, "state_size": 3, "num_hidden_layers": 2, "layer_norm_epsilon": 1e-5}
MAMBA2 = {**MAMBA, "num_heads": 4, "head_dim": 3, "chunk_size": 4}

GEMMA = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 12, "num_attention_heads": 2, "conv1d_width": 3,
    "num_hidden_layers": 5, "attention_window_size": 4, "num_key_value_heads": 1, "logits_soft_cap": 5.0,
}

CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "mamba": ("Mamba", modeling_mamba, MAMBA),
    "mamba untied, biases, conv": (
        *("Mamba", modeling_mamba),
        {**MAMBA, "tie_word_embeddings": False, "use_bias": True, "conv_kernel": 3, "expand": 3, "time_step_rank": 2},
    ),
    "mamba without the bias of conv": ("Mamba", modeling_mamba, {**MAMBA, "use_conv_bias": False}),
    "mamba2": ("Mamba2", modeling_mamba2, {**MAMBA2, "n_groups": 1}),
    "mamba2 tied, groups, biases": (
        *("Mamba2", modeling_mamba2),
        {**MAMBA2, "n_groups": 2, "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": True},
    ),
    "griffin": ("RecurrentGemma", modeling_recurrent_gemma, GEMMA),
    "griffin untied, biases, two heads of keys": (
        *("RecurrentGemma", modeling_recurrent_gemma),
        {
            **GEMMA,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    ),
    "hawk": (
        "RecurrentGemma",
        modeling_recurrent_gemma,
        {**GEMMA, "block_types": ["recurrent"], "num_hidden_layers": 2},
    ),
}


def model_of(family: str, settings: dict[str, Any]) -> Any:
    """A model with random parameters, none of which are 0 or 1."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    model = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.1 * torch.randn_like(param))
    return model


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str) -> None:
    family, module, settings = CASES[name]
    with in_double(module), gemma_in_double():
        model = model_of(family, settings)
        tokens = torch.randint(VOCAB, (B, T), generator=torch.Generator().manual_seed(1))
        wanted = model(tokens, use_cache=False).logits.detach().numpy()
    ours = checkpoints.convert(model.config.to_dict(), model.state_dict())
    run = lsrl.compile(ours.program, target="reference", sizes=ours.sizes)
    found = run(ours.params, {"token": tokens.numpy()}).outputs["logits"]
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)

    state: dict[str, Any] | None = None
    streamed: list[np.ndarray] = []
    for position in range(T):
        result = run.step(ours.params, {"token": tokens.numpy()[:, position]}, state)
        state, streamed = result.state, [*streamed, result.outputs["logits"]]
    np.testing.assert_allclose(np.stack(streamed, axis=1), found, rtol=1e-12, atol=1e-12)
