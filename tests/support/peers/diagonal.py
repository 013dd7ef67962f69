"""Linear recurrences with a diagonal transition: gated ones.  State space models are in `state_space`."""

from __future__ import annotations

import fla.ops.hgrn.naive as fla_hgrn
import torch
import torch.nn.functional as F
from fla.ops.hgrn.naive import naive_recurrent_hgrn
from minGRU_pytorch.minGRU import heinsen_associative_scan_log, log_g
from torch.nn.functional import silu, softplus

from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors, unit
from support.peers.unrolled import linear


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


STRONGLY_TYPED = {"weight_ih": "W", "weight_hh": "V", "bias_ih": "b"}

ROWS: tuple[Row, ...] = (
    Row("mingru_log", {"D": 3, "H": 5}, "minGRU_pytorch: log_g and heinsen_associative_scan_log", mingru_log),
    Row(
        "minlstm_log",
        {"D": 3, "H": 5},
        "minGRU_pytorch: log_g and heinsen_associative_scan_log",
        minlstm_log,
        slip="minGRU_pytorch.minLSTM goes on from log_g(h), not log(h), of the state that it is given: a sequence in "
        "two pieces differs from the whole; here the pieces join",
    ),
    Row(
        "hgrn",
        {"D": 5},
        "closed form: sum over all earlier inputs, torch.nn.functional around it",
        hgrn,
        {"gamma": unit},
    ),
    Row("hgrn_real", {"D": 3, "H": 5}, "fla.ops.hgrn.naive.naive_recurrent_hgrn", hgrn_real, {"gamma": unit}),
)
