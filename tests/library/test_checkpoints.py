"""Checkpoints of transformers' models give the same logits in ours, at once and position by position."""

from __future__ import annotations

from pathlib import Path
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
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "conv1d_width": 3,
    "num_hidden_layers": 5,
    "attention_window_size": 4,
    "num_key_value_heads": 1,
    "logits_soft_cap": 5.0,
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


def tiny() -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and tensors of a Mamba."""
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**MAMBA))
    return model.config.to_dict(), {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def test_directories_hold_one_file_or_several(tmp_path: Path) -> None:
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**MAMBA))
    wanted = checkpoints.convert(model.config, model.state_dict())
    for name, limit in (("one", "1GB"), ("several", "2KB")):
        model.save_pretrained(tmp_path / name, max_shard_size=limit)
        found = checkpoints.load(tmp_path / name)
        assert (found.program.name, found.sizes) == ("mamba_lm", wanted.sizes)
        assert list(found.params) == list(wanted.params)
        assert all(np.array_equal(found.params[key], array) for key, array in wanted.params.items())
    assert len(list((tmp_path / "several").glob("*.safetensors"))) > 1


def test_bfloat16_is_read_as_float32() -> None:
    config, tensors = tiny()
    rounded = {name: torch.tensor(array).bfloat16() for name, array in tensors.items()}
    params = checkpoints.convert(config, rounded).params
    np.testing.assert_array_equal(params["embeddings"], rounded["backbone.embeddings.weight"].float().numpy())


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another model": (
        {"model_type": "gpt2"},
        {},
        "no program for the model_type 'gpt2'; there are programs for mamba",
    ),
    "another function": ({"hidden_act": "relu"}, {}, "hidden_act is 'relu', and std/blocks/mamba_lm computes 'silu'"),
    "no size": ({"state_size": None}, {}, "config: state_size is missing"),
    "no size to compute with": ({"hidden_size": None}, {}, "config: hidden_size is missing"),
    "a size that is none": ({"state_size": "many"}, {}, "config: the size d_state cannot be told"),
    "half a size": ({"expand": 1.25}, {}, "config: the size d_inner is 7.5, no whole number"),
    "missing": (
        *({}, {"backbone.layers.1.mixer.A_log": None}),
        r"backbone.layers.1.mixer.A_log is missing; it becomes layers.1.mixer.A_log \[12, 3\]",
    ),
    "ill-shaped": (
        *({}, {"backbone.norm_f.weight": np.zeros(5)}),
        r"backbone.norm_f.weight \[5\] cannot become norm_f_weight \[6\]",
    ),
    "ill-shaped convolution": (
        *({}, {"backbone.layers.0.mixer.conv1d.weight": np.zeros((5, 1, 4))}),
        r"conv1d.weight \[5, 1, 4\] cannot become layers.0.mixer.conv1d.weight \[12, 4\]",
    ),
    "superfluous": ({}, {"backbone.lora": np.zeros(1)}, "std/blocks/mamba_lm has no place for backbone.lora"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_fit_is_named(name: str) -> None:
    settings, changed, message = MISTAKES[name]
    config, tensors = (without_none({**both, **change}) for both, change in zip(tiny(), (settings, changed)))
    with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.convert(config, tensors)


def without_none(items: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in items.items() if item is not None}


def test_directories_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(checkpoints.CheckpointError, match="not JSON"):
        checkpoints.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(checkpoints.CheckpointError, match=r"neither model\.safetensors nor"):
        checkpoints.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    with pytest.raises(checkpoints.CheckpointError, match="names a file elsewhere"):
        checkpoints.load(tmp_path)
