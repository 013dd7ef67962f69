"""The cells that everybody knows, against the packages that everybody uses."""

from __future__ import annotations

from unittest import mock

import fla.ops.gated_delta_rule.naive as fla_gated_delta
import fla.ops.gla.naive as fla_gla
import fla.ops.retention.naive as fla_retention
import numpy as np
import torch
import transformers.models.mamba.modeling_mamba as hf_mamba
import transformers.models.recurrent_gemma.modeling_recurrent_gemma as hf_gemma
from minGRU_pytorch.minGRU import heinsen_associative_scan_log
from torch.nn.functional import softplus
from xlstm.blocks.mlstm.backends import recurrent_step_stabilized_simple
from xlstm.blocks.slstm.src.vanilla.slstm import slstm_forward_pointwise

from lsrl.backends.arrays import Array
from support.peers.double import in_double
from support.peers.row import B, Given, Row, T, Tensors, negative, unit

HEADS = {"N": 2, "K": 3, "V": 5}


def _torch_cell(module: type[torch.nn.RNNBase], given: Given) -> Tensors:
    """RNN, LSTM and GRU of torch.nn, whose parameters have the same layout."""
    layer = module(given.sizes["D"], given.sizes["H"], batch_first=True, dtype=torch.float64)
    names = {
        name: name.removesuffix("_l0").replace("weight_", "W_").replace("bias_", "b_") for name in layer.state_dict()
    }
    start = tuple(given.state[name][None] for name in ("h", "c") if name in given.state)
    weights = {theirs: given.params[ours] for theirs, ours in names.items()}
    arguments = (given.inputs["x"], start if len(start) > 1 else start[0])
    outputs, last = torch.func.functional_call(layer, weights, arguments)
    finals = last if isinstance(last, tuple) else (last,)
    return {"h": outputs, **{f"state.{name}": final[0] for name, final in zip(("h", "c"), finals)}}


def rnn(given: Given) -> Tensors:
    return _torch_cell(torch.nn.RNN, given)


def lstm(given: Given) -> Tensors:
    return _torch_cell(torch.nn.LSTM, given)


def gru(given: Given) -> Tensors:
    return _torch_cell(torch.nn.GRU, given)


def mingru(given: Given) -> Tensors:
    """In log space, which takes positive candidates."""
    p, x = given.params, given.inputs["x"]
    gate, candidate = x @ p["Wz"].T + p["bz"], x @ p["Wh"].T + p["bh"]
    return {"h": heinsen_associative_scan_log(-softplus(gate), -softplus(-gate) + candidate.log())}


def minlstm(given: Given) -> Tensors:
    """In log space, which takes positive candidates."""
    p, x = given.params, given.inputs["x"]
    forget, write, candidate = (x @ p[f"W{g}"].T + p[f"b{g}"] for g in "fih")
    difference = softplus(-forget) - softplus(-write)
    return {"h": heinsen_associative_scan_log(-softplus(difference), -softplus(-difference) + candidate.log())}


def rg_lru(given: Given) -> Tensors:
    """A document starts where `start` says; the package is told by positions, of which it asks whether they are 0."""
    n, width = given.sizes["N"], given.sizes["N"] * given.sizes["P"]
    config = hf_gemma.RecurrentGemmaConfig(num_attention_heads=n, lru_width=width, hidden_size=width)
    layer = hf_gemma.RecurrentGemmaRglru(config).double()
    p, x = given.params, given.inputs["x"]
    weights = {
        "recurrent_param": p["lambda_"].reshape(-1),
        "recurrent_gate_weight": p["Wa"],
        "recurrent_gate_bias": p["ba"],
        "input_gate_weight": p["Wx"],
        "input_gate_bias": p["bx"],
    }
    positions = (~given.inputs["start"]).long()
    with mock.patch.object(hf_gemma.RecurrentGemmaRglru._rnn_scan, "__defaults__", (torch.float64,)):
        h = torch.func.functional_call(layer, weights, (x.flatten(2), positions))
    return {"h": h.reshape(x.shape)}


def lru(given: Given) -> Tensors:
    """h[t] = sum over s <= t of a^(t-s) u[s], by the Vandermonde matrix of the poles."""
    p, x = given.params, given.inputs["x"].to(torch.complex128)
    log_a = torch.complex(-p["nu"].exp(), p["theta"].exp())
    lag = torch.arange(T)[:, None] - torch.arange(T)[None, :]
    powers = torch.exp(lag.clamp(min=0)[..., None] * log_a) * (lag >= 0)[..., None]
    driven = p["gamma"].exp() * (x @ p["B"].T)
    start = torch.exp(torch.arange(1, T + 1)[:, None] * log_a) * given.state["h"][:, None]
    h = torch.einsum("tsn,bsn->btn", powers, driven) + start
    return {"y": (h @ p["C"].T).real + p["d"] * given.inputs["x"], "state.h": h[:, -1]}


def selective_ssm(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    dt = (x @ p["W_dt"].T @ p["dt_proj"].T).transpose(1, 2)
    b, c = ((x @ p[name].T).transpose(1, 2) for name in ("W_B", "W_C"))
    with in_double(hf_mamba):
        scanned = hf_mamba.mamba_selective_scan(
            x.transpose(1, 2), dt, -p["A_log"].exp(), b, c, p["D"], delta_bias=p["dt_bias"], delta_softplus=True
        )
    return {"y": (scanned[0] if isinstance(scanned, tuple) else scanned).transpose(1, 2)}


def retention(given: Given) -> Tensors:
    """The package fixes the decays; those of the row are the same numbers."""
    q, k, v = (given.inputs[name].transpose(1, 2) for name in "qkv")
    with in_double(fla_retention):
        return {"o": fla_retention.naive_retention(q, k, v).transpose(1, 2)}


def fixed_decays(array: Array) -> Array:
    return 1 - 2.0 ** (-5 - np.arange(array.size, dtype=float))


def retention_parallel(given: Given) -> Tensors:
    """The parallel form, with any decays and from any state."""
    q, k, v = given.inputs["q"], given.inputs["k"], given.inputs["v"]
    lag = torch.arange(T)[:, None] - torch.arange(T)[None, :]
    gamma = given.params["gamma"][:, None, None]
    mask = torch.where(lag >= 0, gamma ** lag.clamp(min=0), 0)
    scores = torch.einsum("btnk,bsnk->bnts", q, k) * mask
    decay = given.params["gamma"] ** torch.arange(1, T + 1)[:, None]
    arrived = torch.einsum("btnk,bnkv,tn->btnv", q, given.state["S"], decay)
    return {"o": (torch.einsum("bnts,bsnv->btnv", scores, v) + arrived) / given.sizes["K"] ** 0.5}


def gla(given: Given) -> Tensors:
    arrays = (given.inputs[name] for name in ("q", "k", "v", "log_a"))
    with in_double(fla_gla):
        outputs, last = fla_gla.naive_recurrent_gla(*arrays, given.state["S"], output_final_state=True)
    return {"o": outputs, "state.S": last}


def gated_delta(given: Given) -> Tensors:
    arrays = (*(given.inputs[name] for name in "qkvb"), given.inputs["a"].log())
    with in_double(fla_gated_delta):
        outputs, last = fla_gated_delta.naive_recurrent_gated_delta_rule(
            *arrays, scale=1.0, initial_state=given.state["S"], output_final_state=True
        )
    return {"o": outputs, "state.S": last}


def mlstm(given: Given) -> Tensors:
    """The package scales keys by 1 / sqrt(K)."""
    n, k, v = (given.sizes[name] for name in "NKV")
    C, z = torch.zeros(B, n, k, v, dtype=torch.float64), torch.zeros(B, n, k, 1, dtype=torch.float64)
    m = torch.full((B, n, 1, 1), -torch.inf, dtype=torch.float64)
    kept = []
    for t in range(T):
        rows = [given.inputs[name][:, t].unsqueeze(2) * scale for name, scale in (("q", 1), ("k", k**0.5), ("v", 1))]
        gates = [given.inputs[name][:, t][..., None, None] for name in "if"]
        h, (C, z, m) = recurrent_step_stabilized_simple(C, z, m, *rows, *gates, eps=0.0)
        kept.append(h[:, :, 0])
    last = {"state.C": C, "state.n": z[..., 0], "state.m": m[..., 0, 0]}
    return {"h": torch.stack(kept, 1), **last}


def slstm(given: Given) -> Tensors:
    n, p = given.sizes["N"], given.sizes["P"]
    bias = torch.cat([given.params[f"b{gate}"].reshape(-1) for gate in "ifzo"])[None]
    states, kept = torch.zeros(4, B, n * p, dtype=torch.float64), []
    for t in range(T):
        h = states[0].reshape(B, n, p)
        recurrent = [torch.einsum("nij,bnj->bni", given.params[f"R{gate}"], h).flatten(1) for gate in "ifzo"]
        projected = [given.inputs[gate][:, t].flatten(1) for gate in "ifzo"]
        states, _ = slstm_forward_pointwise(torch.cat(projected, 1), torch.cat(recurrent, 1), bias, states, {})
        kept.append(states[0].reshape(B, n, p))
    return {"h": torch.stack(kept, 1)}


def gru2014(given: Given) -> Tensors:
    """The whole sequence is guessed and corrected until nothing changes: T rounds, each over all positions."""
    p, x = given.params, given.inputs["x"]
    h = given.state["h"][:, None].expand(-1, T, -1)
    for _ in range(T):
        before = torch.cat([given.state["h"][:, None], h[:, :-1]], 1)
        reset = torch.sigmoid(x @ p["Wr"].T + before @ p["Ur"].T + p["br"])
        update = torch.sigmoid(x @ p["Wz"].T + before @ p["Uz"].T + p["bz"])
        candidate = torch.tanh(x @ p["W"].T + (reset * before) @ p["U"].T + p["b"])
        h = torch.lerp(candidate, before, update)
    return {"h": h, "state.h": h[:, -1]}


def candidates(array: Array) -> Array:
    """A bias that makes candidates positive."""
    return array + 30.0


CELL = {"D": 3, "H": 5}
ROWS = (
    Row("rnn", CELL, "torch.nn.RNN", rnn),
    Row("lstm", CELL, "torch.nn.LSTM", lstm),
    Row("gru", CELL, "torch.nn.GRU", gru),
    Row("gru2014", CELL, "second derivation: fixed point of the sequence", gru2014),
    Row("mingru", CELL, "minGRU_pytorch, in log space", mingru, {"bh": candidates}, starts=False),
    Row("minlstm", CELL, "minGRU_pytorch, in log space", minlstm, {"bh": candidates}, starts=False),
    Row("rg_lru", {"N": 2, "P": 3}, "transformers RecurrentGemmaRglru", rg_lru, starts=False),
    Row("lru", {"D": 3, "N": 5}, "closed form: powers of the poles", lru),
    Row("selective_ssm", {"E": 5, "N": 3, "R": 2}, "transformers mamba_selective_scan", selective_ssm, starts=False),
    Row("retention", HEADS, "closed form: parallel retention", retention_parallel, {"gamma": unit}),
    Row(
        "retention",
        HEADS,
        "fla.ops.retention.naive",
        retention,
        {"gamma": fixed_decays},
        starts=False,
        fixed=("gamma",),
    ),
    Row("gla", HEADS, "fla.ops.gla.naive", gla, {"log_a": negative}),
    Row("gated_delta", HEADS, "fla.ops.gated_delta_rule.naive", gated_delta, {"a": unit, "b": unit}),
    Row("mlstm", HEADS, "xlstm recurrent_step_stabilized_simple", mlstm, starts=False),
    Row(
        "slstm",
        {"N": 2, "P": 3},
        "xlstm slstm_forward_pointwise",
        slstm,
        starts=False,
        flat=("bi",),
    ),
)
