"""Gradients of the library's cells against PyTorch's through implementations published by others, in float64."""

from __future__ import annotations

import fla.ops.gated_delta_rule.naive as fla_gated_delta
import fla.ops.gla.naive as fla_gla
import fla.ops.retention.naive as fla_retention
import numpy as np
import pytest
import torch
import transformers.models.mamba.modeling_mamba as hf_mamba
from minGRU_pytorch.minGRU import heinsen_associative_scan_log
from xlstm.blocks.mlstm.backends import recurrent_step_stabilized_simple
from xlstm.blocks.slstm.src.vanilla.slstm import slstm_forward_pointwise

import lsrl
from support.double import run_in_double

B, T, D, H, N, K, V = 2, 5, 3, 4, 2, 4, 3
Leaves = dict[str, torch.Tensor]


def leaves(seed: int = 0, **shapes: tuple[int, ...]) -> Leaves:
    """Random float64 tensors that ask for gradients."""
    rng = np.random.default_rng(seed)
    return {name: torch.from_numpy(rng.normal(size=shape)).requires_grad_() for name, shape in shapes.items()}


def check(name: str, sizes: dict[str, int], params: Leaves, inputs: Leaves, state: Leaves, out: torch.Tensor) -> None:
    """Hold the reference's gradients to those of `out`, which a published implementation made from the same leaves."""
    program = lsrl.load(f"std/{name}")
    (output,) = program.outputs
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=tuple(out.shape)))
    everything = {**params, **inputs, **state}
    expected = dict(zip(everything, torch.autograd.grad((out * weight).sum(), list(everything.values())), strict=True))
    fn = lsrl.compile(program, target="reference", sizes=sizes)
    arrays = ({n: t.detach().numpy() for n, t in part.items()} for part in (params, inputs, state))
    found = fn.gradients(*arrays, {output: weight.numpy()})
    ours = {**found.params, **found.inputs, **found.state}
    # sLSTM divides out whatever all of its input gates share, so that one bias has no gradient.
    assert sum(bool(gradient.abs().max() < 1e-6) for gradient in expected.values()) <= 1
    for key, gradient in expected.items():
        np.testing.assert_allclose(ours[key], gradient.numpy(), rtol=1e-10, atol=1e-10, err_msg=key)


@pytest.mark.parametrize(("name", "module"), [("rnn", torch.nn.RNN), ("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_torch_cells(name: str, module: type[torch.nn.RNNBase]) -> None:
    theirs = module(D, H, batch_first=True, dtype=torch.float64)
    short = {"weight_ih_l0": "W_ih", "weight_hh_l0": "W_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    params: Leaves = {short[key]: value for key, value in theirs.named_parameters()}
    given = leaves(x=(B, T, D), h=(B, H), c=(B, H))
    state = {key: given[key] for key in ("h", "c") if name == "lstm" or key == "h"}
    start = tuple(tensor[None] for tensor in state.values())
    outputs, _ = theirs(given["x"], start if name == "lstm" else start[0])
    check(name, {"D": D, "H": H}, params, {"x": given["x"]}, state, outputs)


def test_mingru() -> None:
    params = leaves(Wz=(H, D), Wh=(H, D), bz=(H,), bh=(H,))
    with torch.no_grad():
        params["bh"] += 30
    x = leaves(2, x=(B, T, D))
    gate = x["x"] @ params["Wz"].T + params["bz"]
    candidate = x["x"] @ params["Wh"].T + params["bh"]
    softplus = torch.nn.functional.softplus
    outputs = heinsen_associative_scan_log(-softplus(gate), -softplus(-gate) + candidate.log())
    check("mingru", {"D": D, "H": H}, params, x, {}, outputs)


def heads(*names: str) -> Leaves:
    widths = {"q": (K,), "k": (K,), "log_a": (K,), "v": (V,)}
    return leaves(3, **{name: (B, T, N, *widths.get(name, ())) for name in names})


def test_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, fla_retention)
    inputs = heads("q", "k", "v")
    outputs = fla_retention.naive_retention(*(inputs[n].transpose(1, 2) for n in "qkv")).transpose(1, 2)
    gamma = {"gamma": torch.from_numpy(1 - 2.0 ** (-5 - np.arange(N)))}
    program = lsrl.load("std/retention")
    weight = torch.ones_like(outputs)
    fn = lsrl.compile(program, target="reference", sizes={"N": N, "K": K, "V": V})
    given = {name: tensor.detach().numpy() for name, tensor in inputs.items()}
    found = fn.gradients({"gamma": gamma["gamma"].numpy()}, given, {}, {"o": weight.numpy()})
    for name, gradient in zip(inputs, torch.autograd.grad(outputs.sum(), list(inputs.values())), strict=True):
        np.testing.assert_allclose(found.inputs[name], gradient.numpy(), rtol=1e-10, atol=1e-10)


def test_gla(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, fla_gla)
    inputs, state = heads("q", "k", "v", "log_a"), leaves(4, S=(B, N, K, V))
    outputs, _ = fla_gla.naive_recurrent_gla(*(inputs[n] for n in ("q", "k", "v", "log_a")), state["S"])
    check("gla", {"N": N, "K": K, "V": V}, {}, inputs, state, outputs)


def test_gated_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, fla_gated_delta)
    inputs, state = heads("q", "k", "v", "a", "b"), leaves(4, S=(B, N, K, V))
    with torch.no_grad():
        inputs["a"].sigmoid_()
    arrays = (*(inputs[n] for n in "qkvb"), inputs["a"].log())
    outputs, _ = fla_gated_delta.naive_recurrent_gated_delta_rule(*arrays, scale=1.0, initial_state=state["S"])
    check("gated_delta", {"N": N, "K": K, "V": V}, {}, inputs, state, outputs)


def test_mlstm() -> None:
    inputs = heads("q", "k", "i", "f") | leaves(5, v=(B, T, N, K))
    c, n = torch.zeros(B, N, K, K, dtype=torch.float64), torch.zeros(B, N, K, 1, dtype=torch.float64)
    m = torch.full((B, N, 1, 1), -torch.inf, dtype=torch.float64)
    kept = []
    for t in range(T):
        q, k, v = (inputs[name][:, t].unsqueeze(2) * scale for name, scale in (("q", 1), ("k", K**0.5), ("v", 1)))
        i, f = (inputs[name][:, t][..., None, None] for name in "if")
        h, (c, n, m) = recurrent_step_stabilized_simple(c, n, m, q, k, v, i, f, eps=0.0)
        kept.append(h[:, :, 0])
    check("mlstm", {"N": N, "K": K, "V": K}, {}, inputs, {}, torch.stack(kept, 1))


def test_slstm() -> None:
    params = leaves(6, **{f"R{g}": (N, K, K) for g in "ifzo"}, **{f"b{g}": (N, K) for g in "ifzo"})
    inputs = leaves(7, **dict.fromkeys("ifzo", (B, T, N, K)))
    bias = torch.cat([params[f"b{g}"].reshape(-1) for g in "ifzo"])[None]
    states, kept = torch.zeros(4, B, N * K, dtype=torch.float64), []
    for t in range(T):
        h = states[0].reshape(B, N, K)
        recurrent = [torch.einsum("nij,bnj->bni", params[f"R{g}"], h).reshape(B, -1) for g in "ifzo"]
        given = [inputs[g][:, t].reshape(B, -1) for g in "ifzo"]
        states, _ = slstm_forward_pointwise(torch.cat(given, 1), torch.cat(recurrent, 1), bias, states, {})
        kept.append(states[0].reshape(B, N, K))
    check("slstm", {"N": N, "P": K}, params, inputs, {}, torch.stack(kept, 1))


def test_selective_ssm(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, hf_mamba)
    shapes = {
        "W_dt": (2, H),
        "W_B": (N, H),
        "W_C": (N, H),
        "dt_proj": (H, 2),
        "dt_bias": (H,),
        "A_log": (H, N),
        "D": (H,),
    }
    p, x = leaves(8, **shapes), leaves(9, x=(B, T, H))
    dt = (x["x"] @ p["W_dt"].T @ p["dt_proj"].T).transpose(1, 2)
    b, c = ((x["x"] @ p[w].T).transpose(1, 2) for w in ("W_B", "W_C"))
    scanned = hf_mamba.mamba_selective_scan(
        x["x"].transpose(1, 2), dt, -p["A_log"].exp(), b, c, p["D"], delta_bias=p["dt_bias"], delta_softplus=True
    )
    outputs = (scanned[0] if isinstance(scanned, tuple) else scanned).transpose(1, 2)
    check("selective_ssm", {"E": H, "N": N, "R": 2}, p, x, {}, outputs)
