"""The library's cells against implementations published by others, in float64 to 1e-10."""

from __future__ import annotations

import fla.ops.gated_delta_rule.naive as fla_gated_delta
import fla.ops.gla.naive as fla_gla
import fla.ops.retention.naive as fla_retention
import numpy as np
import pytest
import scipy.signal
import torch
import transformers.models.mamba.modeling_mamba as hf_mamba
import transformers.models.recurrent_gemma.modeling_recurrent_gemma as hf_gemma
from minGRU_pytorch.minGRU import heinsen_associative_scan_log
from xlstm.blocks.mlstm.backends import recurrent_step_stabilized_simple
from xlstm.blocks.slstm.src.vanilla.slstm import slstm_forward_pointwise

import lsrl
from support.double import run_in_double

B, T, D, H, N, K, V = 3, 7, 5, 6, 2, 4, 3
Arrays = dict[str, np.ndarray]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def run(name: str, params: Arrays, inputs: Arrays, sizes: dict[str, int], state: Arrays | None = None) -> lsrl.Result:
    return lsrl.load(f"std/{name}").reference(params, inputs, state=state, sizes=sizes)


def agree(ours: np.ndarray, theirs: torch.Tensor | np.ndarray) -> None:
    expected = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert expected.dtype in (np.float64, np.complex128)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


def drawn(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> Arrays:
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("name", "module"), [("rnn", torch.nn.RNN), ("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_torch_cells(rng: np.random.Generator, name: str, module: type[torch.nn.RNNBase]) -> None:
    theirs = module(D, H, batch_first=True, dtype=torch.float64)
    params = {
        key.removesuffix("_l0").replace("weight_", "W_").replace("bias_", "b_"): value
        for key, value in theirs.named_parameters()
    }
    x, h, c = rng.normal(size=(B, T, D)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    initial = {"h": h, "c": c} if name == "lstm" else {"h": h}
    start = tuple(torch.from_numpy(s)[None] for s in initial.values())
    ours = run(name, {k: v.detach().numpy() for k, v in params.items()}, {"x": x}, {"D": D, "H": H}, initial)
    outputs, final = theirs(torch.from_numpy(x), start if name == "lstm" else start[0])
    agree(ours.outputs["h"], outputs)
    for key, value in zip(initial, final if name == "lstm" else (final,), strict=True):
        agree(ours.state[key], value[0])


def test_gru2014_is_keras_gru_without_reset_after(rng: np.random.Generator) -> None:
    names = {
        "Wr": (H, D),
        "Wz": (H, D),
        "W": (H, D),
        "Ur": (H, H),
        "Uz": (H, H),
        "U": (H, H),
        "br": (H,),
        "bz": (H,),
        "b": (H,),
    }
    params, x = drawn(rng, names), rng.normal(size=(B, T, D))
    ours = run("gru2014", params, {"x": x}, {"D": D, "H": H})
    # With U = 0 the two forms agree, and torch's takes over; the reset is then tested by a diagonal U, which commutes.
    u = rng.normal(size=H)
    diagonal = run("gru2014", params | {"U": np.diag(u)}, {"x": x}, {"D": D, "H": H})
    theirs = torch.nn.GRU(D, H, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for target, parts in (
            (theirs.weight_ih_l0, ("Wr", "Wz", "W")),
            (theirs.bias_ih_l0, ("br", "bz", "b")),
        ):
            target.copy_(torch.from_numpy(np.concatenate([params[p] for p in parts])))
        theirs.weight_hh_l0.copy_(torch.from_numpy(np.concatenate([params["Ur"], params["Uz"], np.diag(u)])))
        theirs.bias_hh_l0.zero_()
    agree(diagonal.outputs["h"], theirs(torch.from_numpy(x))[0])
    assert not np.allclose(ours.outputs["h"], diagonal.outputs["h"])


def positive_candidates(params: Arrays, x: np.ndarray, weight: str, bias: str) -> np.ndarray:
    params[bias] = params[bias] + 30.0
    candidates = x @ params[weight].T + params[bias]
    assert candidates.min() > 0
    return candidates


def test_mingru_in_log_space(rng: np.random.Generator) -> None:
    params = drawn(rng, {"Wz": (H, D), "Wh": (H, D), "bz": (H,), "bh": (H,)})
    x = rng.normal(size=(B, T, D))
    c = torch.from_numpy(positive_candidates(params, x, "Wh", "bh"))
    gate = torch.from_numpy(x @ params["Wz"].T + params["bz"])
    softplus = torch.nn.functional.softplus
    theirs = heinsen_associative_scan_log(-softplus(gate), -softplus(-gate) + c.log())
    agree(run("mingru", params, {"x": x}, {"D": D, "H": H}).outputs["h"], theirs)


def test_minlstm_in_log_space(rng: np.random.Generator) -> None:
    params = drawn(rng, {f"W{g}": (H, D) for g in "fih"} | {f"b{g}": (H,) for g in "fih"})
    x = rng.normal(size=(B, T, D))
    c = torch.from_numpy(positive_candidates(params, x, "Wh", "bh"))
    f, i = (torch.from_numpy(x @ params[f"W{g}"].T + params[f"b{g}"]) for g in "fi")
    softplus = torch.nn.functional.softplus
    difference = softplus(-f) - softplus(-i)
    theirs = heinsen_associative_scan_log(-softplus(difference), -softplus(-difference) + c.log())
    agree(run("minlstm", params, {"x": x}, {"D": D, "H": H}).outputs["h"], theirs)


def test_rg_lru(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    config = hf_gemma.RecurrentGemmaConfig(num_attention_heads=N, lru_width=N * K, hidden_size=N * K)
    theirs = hf_gemma.RecurrentGemmaRglru(config).double()
    monkeypatch.setattr(hf_gemma.RecurrentGemmaRglru._rnn_scan, "__defaults__", (torch.float64,))
    params = drawn(rng, {"Wa": (N, K, K), "Wx": (N, K, K), "ba": (N, K), "bx": (N, K), "lambda_": (N, K)})
    with torch.no_grad():
        theirs.recurrent_param.copy_(torch.from_numpy(params["lambda_"].reshape(-1)))
        theirs.recurrent_gate_weight.copy_(torch.from_numpy(params["Wa"]))
        theirs.recurrent_gate_bias.copy_(torch.from_numpy(params["ba"]))
        theirs.input_gate_weight.copy_(torch.from_numpy(params["Wx"]))
        theirs.input_gate_bias.copy_(torch.from_numpy(params["bx"]))
    x = rng.normal(size=(B, T, N * K))
    positions = np.array([[0, 1, 2, 0, 1, 2, 3], range(T), [0, 0, 1, 2, 3, 0, 1]])
    expected = theirs(torch.from_numpy(x), torch.from_numpy(positions))
    ours = run("rg_lru", params, {"x": x.reshape(B, T, N, K), "start": positions == 0}, {"N": N, "P": K})
    agree(ours.outputs["h"].reshape(B, T, N * K), expected)


def test_lru_is_a_bank_of_filters(rng: np.random.Generator) -> None:
    params: Arrays = drawn(rng, {"theta": (N,), "gamma": (N,), "d": (D,)}) | {"nu": rng.uniform(-3, -1, N)}
    params["B"] = rng.normal(size=(N, D)) + 1j * rng.normal(size=(N, D))
    params["C"] = rng.normal(size=(D, N)) + 1j * rng.normal(size=(D, N))
    x = rng.normal(size=(B, T, D))
    poles = np.exp(-np.exp(params["nu"]) + 1j * np.exp(params["theta"]))
    driven = np.exp(params["gamma"]) * (x @ params["B"].T)
    h = np.stack([scipy.signal.lfilter([1], [1, -poles[n]], driven[..., n], axis=1) for n in range(N)], axis=-1)
    expected = (h @ params["C"].T).real + params["d"] * x
    ours = run("lru", params, {"x": x}, {"D": D, "N": N})
    agree(ours.outputs["y"], expected)
    agree(ours.state["h"], h[:, -1])


def test_selective_ssm(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
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
    params, x = drawn(rng, shapes), rng.normal(size=(B, T, H))
    p = {name: torch.from_numpy(array) for name, array in params.items()}
    u = torch.from_numpy(x)
    dt = (u @ p["W_dt"].T @ p["dt_proj"].T).transpose(1, 2)
    b, c = ((u @ p[w].T).transpose(1, 2) for w in ("W_B", "W_C"))
    scanned = hf_mamba.mamba_selective_scan(
        u.transpose(1, 2), dt, -p["A_log"].exp(), b, c, p["D"], delta_bias=p["dt_bias"], delta_softplus=True
    )
    expected = scanned[0] if isinstance(scanned, tuple) else scanned
    ours = run("selective_ssm", params, {"x": x}, {"E": H, "N": N, "R": 2})
    agree(ours.outputs["y"], expected.transpose(1, 2))


def heads(rng: np.random.Generator, *names: str) -> dict[str, np.ndarray]:
    widths = {"q": (K,), "k": (K,), "log_a": (K,), "v": (V,)}
    return {name: rng.normal(size=(B, T, N, *widths.get(name, ()))) for name in names}


def test_retention(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, fla_retention)
    inputs = heads(rng, "q", "k", "v")
    theirs = fla_retention.naive_retention(*(torch.from_numpy(inputs[n]).transpose(1, 2) for n in "qkv"))
    gamma = 1 - 2.0 ** (-5 - np.arange(N))
    ours = run("retention", {"gamma": gamma}, inputs, {"N": N, "K": K, "V": V})
    agree(ours.outputs["o"], theirs.transpose(1, 2))


def test_gla(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, fla_gla)
    inputs = heads(rng, "q", "k", "v", "log_a")
    inputs["log_a"] = -np.abs(inputs["log_a"])
    start = rng.normal(size=(B, N, K, V))
    arguments = (torch.from_numpy(inputs[n]) for n in ("q", "k", "v", "log_a"))
    outputs, final = fla_gla.naive_recurrent_gla(*arguments, torch.from_numpy(start), output_final_state=True)
    ours = run("gla", {}, inputs, {"N": N, "K": K, "V": V}, {"S": start})
    agree(ours.outputs["o"], outputs)
    agree(ours.state["S"], final)


def test_gated_delta(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_double(monkeypatch, fla_gated_delta)
    inputs = heads(rng, "q", "k", "v")
    log_a, b = -np.abs(rng.normal(size=(B, T, N))), rng.uniform(size=(B, T, N))
    start = rng.normal(size=(B, N, K, V))
    arrays = (*(inputs[n] for n in "qkv"), b, log_a)
    outputs, final = fla_gated_delta.naive_recurrent_gated_delta_rule(
        *(torch.from_numpy(a) for a in arrays),
        scale=1.0,
        initial_state=torch.from_numpy(start),
        output_final_state=True,
    )
    ours = run("gated_delta", {}, inputs | {"a": np.exp(log_a), "b": b}, {"N": N, "K": K, "V": V}, {"S": start})
    agree(ours.outputs["o"], outputs)
    agree(ours.state["S"], final)


def test_mlstm(rng: np.random.Generator) -> None:
    inputs = heads(rng, "q", "k", "i", "f") | {"v": rng.normal(size=(B, T, N, K))}
    ours = run("mlstm", {}, inputs | {"k": inputs["k"] / np.sqrt(K)}, {"N": N, "K": K, "V": K})
    c, n = torch.zeros(B, N, K, K, dtype=torch.float64), torch.zeros(B, N, K, 1, dtype=torch.float64)
    m = torch.full((B, N, 1, 1), -torch.inf, dtype=torch.float64)
    for t in range(T):
        q, k, v = (torch.from_numpy(inputs[name][:, t]).unsqueeze(2) for name in "qkv")
        i, f = (torch.from_numpy(inputs[name][:, t])[..., None, None] for name in "if")
        h, (c, n, m) = recurrent_step_stabilized_simple(c, n, m, q, k, v, i, f, eps=0.0)
        agree(ours.outputs["h"][:, t], h[:, :, 0])
    agree(ours.state["C"], c)
    agree(ours.state["n"], n[..., 0])
    agree(ours.state["m"], m[..., 0, 0])


def test_slstm(rng: np.random.Generator) -> None:
    params = drawn(rng, {f"R{g}": (N, K, K) for g in "ifzo"} | {f"b{g}": (N, K) for g in "ifzo"})
    inputs = {gate: rng.normal(size=(B, T, N, K)) for gate in "ifzo"}
    ours = run("slstm", params, inputs, {"N": N, "P": K})
    bias = torch.from_numpy(np.concatenate([params[f"b{g}"].reshape(-1) for g in "ifzo"]))[None]
    states = torch.zeros(4, B, N * K, dtype=torch.float64)
    for t in range(T):
        h = states[0].numpy().reshape(B, N, K)
        recurrent = [np.einsum("nij,bnj->bni", params[f"R{g}"], h).reshape(B, -1) for g in "ifzo"]
        given = [inputs[g][:, t].reshape(B, -1) for g in "ifzo"]
        wx, ry = (torch.from_numpy(np.concatenate(parts, axis=1)) for parts in (given, recurrent))
        states, _ = slstm_forward_pointwise(wx, ry, bias, states, {})
        agree(ours.outputs["h"][:, t].reshape(B, -1), states[0])
    for name, value in zip(("h", "c", "n", "m"), states, strict=True):
        agree(ours.state[name].reshape(B, -1), value)
