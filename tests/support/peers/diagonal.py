"""Linear recurrences with a diagonal transition, and their nonlinear relatives; more are in `temporal` and
`state_space`."""

from __future__ import annotations

import fla.ops.hgrn.naive as fla_hgrn
import torch
import torch.nn.functional as F
import torchrecurrent as tr
from fla.ops.hgrn.naive import naive_recurrent_hgrn
from minGRU_pytorch.minGRU import heinsen_associative_scan_log, log_g
from torch.nn.functional import silu, softplus

from support.peers import state_space, temporal
from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors, unit
from support.peers.torchrecurrent_cell import row as torchrecurrent_row
from support.peers.unrolled import iterated, linear


def _heinsen(log_a: torch.Tensor, log_b: torch.Tensor, log_start: torch.Tensor) -> Tensors:
    """The package's scan, from a state that is a first value which nothing decays."""
    coefficients = F.pad(log_a, (0, 0, 1, 0))
    h = heinsen_associative_scan_log(coefficients, torch.cat([log_start[:, None], log_b], 1))[:, 1:]
    return {"h": h, "state.log_h": h[:, -1].log()}


def mingru_log(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    gate, candidate = x @ p["Wz"].T + p["bz"], x @ p["Wh"].T + p["bh"]
    return _heinsen(-softplus(gate), -softplus(-gate) + log_g(candidate), given.state["log_h"])


def minlstm_log(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    forget, write, candidate = (x @ p[f"W{g}"].T + p[f"b{g}"] for g in "fih")
    difference = softplus(-forget) - softplus(-write)
    return _heinsen(-softplus(difference), -softplus(-difference) + log_g(candidate), given.state["log_h"])


def hgrn(given: Given) -> Tensors:
    """Real and imaginary parts of what enters lie side by side in the last axis, as torch views complex numbers."""
    p, x, gamma = given.params, given.inputs["x"], given.inputs["gamma"]
    c = torch.view_as_complex(silu(F.linear(x, p["W_c"], p["b_c"])).unflatten(-1, (-1, 2)))
    decay = torch.lerp(torch.sigmoid(F.linear(x, p["W_mu"], p["b_mu"])), torch.ones_like(gamma), gamma)
    h = linear(torch.polar(decay, p["theta"].expand_as(decay)), (1 - decay) * c, given.state["h"])
    n = F.layer_norm(torch.cat([h.real, h.imag], -1), (2 * h.shape[-1],), p["norm_weight"], p["norm_bias"])
    o = F.linear(n * silu(F.linear(x, p["W_g"], p["b_g"])), p["W_o"], p["b_o"])
    return {"o": o, "state.h": h[:, -1]}


def hgrn_real(given: Given) -> Tensors:
    p, x, gamma = given.params, given.inputs["x"], given.inputs["gamma"]
    f = gamma + (1 - gamma) * torch.sigmoid(x @ p["W_f"].T)
    with in_double(fla_hgrn):
        h, last = naive_recurrent_hgrn(silu(x @ p["W_i"].T) * (1 - f), f.log(), given.state["h"], True)
    n = F.rms_norm(h, (h.shape[-1],), p["norm_weight"], eps=1e-5)
    return {"o": (n * silu(x @ p["W_g"].T)) @ p["W_o"].T, "state.h": last}


def _two_taps(given: Given, gates: str) -> tuple[torch.Tensor, ...]:
    """A convolution of width 2 for each gate, over what was before the start as well."""
    p = given.params
    x = torch.cat([given.state["x[t-1]"][:, None], given.inputs["x"]], 1).mT
    kernels = (torch.stack([p[f"V{g}"], p[f"W{g}"]], -1) for g in gates)
    return tuple(F.conv1d(x, kernel, p[f"b{g}"]).mT for g, kernel in zip(gates, kernels))


def qrnn(given: Given) -> Tensors:
    z, f, o = _two_taps(given, "zfo")
    f = torch.sigmoid(f)
    c = linear(f, (1 - f) * torch.tanh(z), given.state["c"])
    return {"h": torch.sigmoid(o) * c, "state.c": c[:, -1]}


def qrnn_ifo(given: Given) -> Tensors:
    z, f, o, i = _two_taps(given, "zfoi")
    c = linear(torch.sigmoid(f), torch.sigmoid(i) * torch.tanh(z), given.state["c"])
    return {"h": torch.sigmoid(o) * c, "state.c": c[:, -1]}


def sru(given: Given) -> Tensors:
    p, x, start = given.params, given.inputs["x"], given.state["c"]
    u, uf, ur = F.linear(x, torch.cat([p["W"], p["Wf"], p["Wr"]])).chunk(3, -1)
    c = iterated(lambda c: torch.lerp(u, c, torch.sigmoid(uf + p["vf"] * c + p["bf"])), start, T)
    before = torch.cat([start[:, None], c[:, :-1]], 1)
    skipped = 3**0.5 * x
    return {"h": torch.lerp(skipped, c, torch.sigmoid(ur + p["vr"] * before + p["br"])), "state.c": c[:, -1]}


def sru_2017(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    u, uf, ur = F.linear(x, torch.cat([p["W"], p["Wf"], p["Wr"]])).chunk(3, -1)
    f = torch.sigmoid(uf + p["bf"])
    c = linear(f, (1 - f) * u, given.state["c"])
    return {"h": torch.lerp(x, c.tanh(), torch.sigmoid(ur + p["br"])), "state.c": c[:, -1]}


def lrn(given: Given) -> Tensors:
    q, k, v = (given.inputs["x"] @ given.params[f"W_{gate}"].T for gate in "qkv")
    h = iterated(lambda h: torch.tanh(torch.sigmoid(k + h) * v + torch.sigmoid(q - h) * h), given.state["h"], T)
    return {"h": h, "state.h": h[:, -1]}


def swish_rnn(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    x1, x2 = x @ p["W1"].T, x @ p["W2"].T
    c = iterated(lambda c: silu(c - x1) + x1, given.state["c"], T)
    h = (c + p["b_c"]) * torch.sigmoid(x2 + p["b_sigma"])
    return {"y": F.linear(h, p["W3"], p["b3"]), "state.c": c[:, -1]}


def elstm(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    forget, candidate = x @ p["F"].T + p["b_f"], x @ p["Z"].T + p["b_z"]

    def step(c: torch.Tensor) -> torch.Tensor:
        return torch.lerp(torch.tanh(candidate + p["w_z"] * c), c, torch.sigmoid(forget + p["w_f"] * c))

    c = iterated(step, given.state["c"], T)
    gate = torch.sigmoid(F.linear(torch.cat([x, c], -1), torch.cat([p["O"], p["W_o"]], 1), p["b_o"]))
    return {"h": gate * c, "state.c": c[:, -1]}


def _gilr(given: Given, prefix: str = "") -> torch.Tensor:
    p, x = given.params, given.inputs["x"]
    g = torch.sigmoid(F.linear(x, p[f"{prefix}U"], p[f"{prefix}b_g"]))
    return linear(g, (1 - g) * torch.tanh(F.linear(x, p[f"{prefix}V"], p[f"{prefix}b_z"])), given.state[f"{prefix}h"])


def gilr(given: Given) -> Tensors:
    h = _gilr(given)
    return {"h": h, "state.h": h[:, -1]}


def gilr_lstm(given: Given) -> Tensors:
    p, x, h = given.params, given.inputs["x"], _gilr(given, "gilr.")
    both = torch.cat([torch.cat([given.state["h[t-1]"][:, None], h[:, :-1]], 1), x], -1)
    f, i, o, z = (F.linear(both, torch.cat([p[f"U{g}"], p[f"V{g}"]], 1), p[f"b{g}"]) for g in "fioz")
    c = linear(torch.sigmoid(f), torch.sigmoid(i) * torch.tanh(z), given.state["c"])
    return {"y": torch.sigmoid(o) * c, "state.c": c[:, -1], "state.gilr.h": h[:, -1]}


STRONGLY_TYPED = {"weight_ih": "Wz Wf Wo", "weight_hh": "Vz Vf Vo", "bias_ih": "bz bf bo"}
SIZES = {"D": 3, "H": 5}
SUM = "closed form: sum over all earlier inputs, with torch.nn.functional"
SWEEPS = "second derivation: iteration of whole sequences to their fixed point"

GATED: tuple[Row, ...] = (
    Row("mingru_log", SIZES, "minGRU_pytorch: log_g and heinsen_associative_scan_log", mingru_log),
    Row(
        "minlstm_log",
        SIZES,
        "minGRU_pytorch: log_g and heinsen_associative_scan_log",
        minlstm_log,
        slip="minGRU_pytorch.minLSTM goes on from log_g(h), not log(h), of the state that it is given: a sequence in "
        "two pieces differs from the whole; here the pieces join",
    ),
    Row(
        "hgrn",
        {"D": 5},
        SUM,
        hgrn,
        {"gamma": unit},
    ),
    Row("hgrn_real", SIZES, "fla.ops.hgrn.naive.naive_recurrent_hgrn", hgrn_real, {"gamma": unit}),
    torchrecurrent_row("trnn", tr.TRNNCell, weight_ih="W V", bias_ih="c b"),
    torchrecurrent_row("tgru", tr.TGRUCell, states="h x[t-1]", **STRONGLY_TYPED),
    torchrecurrent_row("tlstm", tr.TLSTMCell, states="c x[t-1]", **STRONGLY_TYPED),
    Row("qrnn", SIZES, f"{SUM}; gates by conv1d", qrnn),
    Row("qrnn_ifo", SIZES, f"{SUM}; gates by conv1d", qrnn_ifo),
    Row("sru", {"D": 5}, SWEEPS, sru),
    Row("sru_2017", {"D": 5}, SUM, sru_2017),
    Row("lrn", SIZES, SWEEPS, lrn),
    Row("swish_rnn", SIZES, SWEEPS, swish_rnn),
    Row("elstm", SIZES, SWEEPS, elstm),
    Row("gilr", SIZES, SUM, gilr),
    Row("gilr_lstm", SIZES, SUM, gilr_lstm),
)
ROWS = (*GATED, *temporal.ROWS, *state_space.ROWS)
