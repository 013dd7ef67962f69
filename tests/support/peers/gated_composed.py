"""Models of which a GRU or an LSTM is a part: decoders that attend, latents that are drawn."""

from __future__ import annotations

import numpy as np
import torch
import torchrecurrent
from torch.func import functional_call
from torch.nn.functional import linear, softplus

from support.peers.row import Given, Row, T, Tensors


def rssm(given: Given) -> Tensors:
    """The prior in one pass over all positions, after the loop of the posterior."""
    p, sizes = given.params, given.sizes
    cell = torch.nn.GRUCell(sizes["H"], sizes["H"], dtype=torch.float64)
    names = {"W_ih": "weight_ih", "W_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
    weights = {theirs: p[f"gru.{ours}"] for ours, theirs in names.items()}

    def normal(scope: str, x: torch.Tensor) -> torch.distributions.Normal:
        hidden = linear(x, p[f"{scope}.W"], p[f"{scope}.b"]).relu()
        loc, raw = linear(hidden, p[f"{scope}.V"], p[f"{scope}.c"]).chunk(2, -1)
        return torch.distributions.Normal(loc, softplus(raw) + 0.1)

    h, z, steps = given.state["gru.h"], given.state["z"], []
    for t in range(T):
        action, e, eps = (given.inputs[name][:, t] for name in ("action", "e", "eps"))
        h = functional_call(cell, weights, (linear(torch.cat([z, action], 1), p["W"], p["b"]).relu(), h))
        posterior = normal("gaussian_2", torch.cat([h, e], 1))
        z = posterior.icdf(torch.special.ndtr(eps))
        steps.append((h, z, posterior.mean, posterior.stddev))
    told = {name: torch.stack(values, 1) for name, values in zip(("h", "z", "mu", "sigma"), zip(*steps))}
    prior = normal("gaussian", told["h"])
    return {**told, "prior_mu": prior.mean, "prior_sigma": prior.stddev, "state.gru.h": h, "state.z": z}


def attention_decoder(given: Given) -> Tensors:
    p, sizes = given.params, given.sizes
    cell = torchrecurrent.MUT2Cell(sizes["D"] + sizes["A"], sizes["H"], dtype=torch.float64)
    rows = {k: torch.cat([p[f"{k}{gate}"] for gate in "zrs"]) for k in "WUb"}
    weights = {"weight_ih": rows["W"], "weight_hh": rows["U"], "bias_ih": rows["b"], "bias_hh": 0 * rows["b"]}
    s, steps = given.state["s"], []
    keys = linear(given.inputs["annotations"], p["U"])
    for t in range(T):
        annotations, inside = given.inputs["annotations"][:, t], given.inputs["inside"][:, t]
        weighed = torch.tanh(keys[:, t] + linear(s, p["W"])[:, None]) @ p["v"]
        alpha = weighed.masked_fill(~inside, -torch.inf).softmax(-1)
        context = torch.bmm(alpha[:, None], annotations)[:, 0]
        s = functional_call(cell, weights, (torch.cat([given.inputs["y"][:, t], context], 1), s))
        steps.append((s, context, alpha))
    told = {name: torch.stack(values, 1) for name, values in zip(("s", "context", "alpha"), zip(*steps))}
    return {**told, "state.s": s}


ATTENTION = {"D": 3, "A": 4, "H": 5, "M": 2, "S": 6}

ROWS: tuple[Row, ...] = (
    Row(
        "rssm",
        {"A": 2, "E": 3, "H": 5, "Z": 4, "M": 6},
        "torch.nn.GRUCell and torch.distributions.Normal, by its quantiles",
        rssm,
    ),
    Row(
        "attention_decoder",
        ATTENTION,
        "torchrecurrent.MUT2 on torch.bmm",
        attention_decoder,
        ranges={"inside": lambda drawn: drawn | (np.arange(ATTENTION["S"]) == 0)},
    ),
)
