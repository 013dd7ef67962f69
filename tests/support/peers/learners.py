"""Test-time learners, and linear recurrences with structured transitions."""

from __future__ import annotations

from collections.abc import Callable

import fla.ops.ttt.naive as fla_ttt
import torch
from torch.nn.functional import layer_norm, normalize, silu

from support.peers import structured
from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors, positive, unit
from support.peers.structured import along, linear_states, starting

Weights = tuple[torch.Tensor, ...]


def _descent(loss: Callable[..., torch.Tensor], weights: Weights) -> Weights:
    """Gradients of a loss at these weights, themselves differentiable."""
    return torch.autograd.grad(loss(*weights), weights, create_graph=True)


def _rows(given: Given, *names: str) -> list[torch.Tensor]:
    """Inputs [T, B, …], for loops over positions."""
    return [given.inputs[name].transpose(0, 1) for name in names]


def _normed(given: Given, x: torch.Tensor) -> torch.Tensor:
    return given.params["gamma"] * layer_norm(x, x.shape[-1:], eps=1e-6) + given.params["beta"]


def ttt_linear(given: Given) -> Tensors:
    """The package makes the steps of weights, one position at a time; what it reads is the paper's q + LN(q W + b)."""
    W, b = starting(given, "W0", "b0")
    b = b[:, :, None]
    outputs = []
    for q, k, v, eta in zip(*(given.inputs[name].split(1, 1) for name in ("q", "k", "v", "eta"))):
        with in_double(fla_ttt):
            _, W, b = fla_ttt.chunk_ttt_linear_ref(
                *(q.clone(), k, v, given.params["gamma"], given.params["beta"], eta[..., None]),  # q is scaled in place
                mini_batch_size=1,
                initial_state=W,
                initial_state_bias=b,
                output_final_state=True,
            )
        outputs.append(q[:, 0] + _normed(given, torch.einsum("bnd,bnde->bne", q[:, 0], W) + b[:, :, 0]))
    return {"o": along(outputs), "state.W": W, "state.b": b[:, :, 0]}


def ttt_linear_batch(given: Given) -> Tensors:
    """Each mini-batch as a whole: one gradient for all of its tokens, and their sums up to each of them."""
    W, b = starting(given, "W0", "b0")
    size, outputs = given.sizes["M"], []
    for q, k, v, eta in zip(*(given.inputs[name].split(size, 1) for name in ("q", "k", "v", "eta"))):
        each = [w[:, None].expand(-1, k.shape[1], *w.shape[1:]) for w in (W, b)]

        def loss(W: torch.Tensor, b: torch.Tensor, k: torch.Tensor = k, v: torch.Tensor = v) -> torch.Tensor:
            return (k + _normed(given, torch.einsum("btnd,btnde->btne", k, W) + b) - v).square().sum() / 2

        dW, db = _descent(loss, tuple(each))
        Ws = each[0] - (eta[..., None, None] * dW).cumsum(1)
        bs = each[1] - (eta[..., None] * db).cumsum(1)
        outputs.append(q + _normed(given, torch.einsum("btnd,btnde->btne", q, Ws) + bs))
        W, b = Ws[:, -1], bs[:, -1]
    return {"o": torch.cat(outputs, 1), "state.W": W, "state.b": b}


def ttt_mlp(given: Given) -> Tensors:
    """Torch's perceptron and layer norm, and gradients of the loss by autograd."""
    names = {"0.weight": "A1", "0.bias": "c1", "2.weight": "A2", "2.bias": "c2"}
    weights = tuple(starting(given, *names.values()))
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.GELU("tanh"), torch.nn.Linear(1, 1))

    def one(weights: Weights, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(
            network, {name: w.mT if w.ndim > 1 else w for name, w in zip(names, weights)}, x
        )

    def model(weights: Weights, x: torch.Tensor) -> torch.Tensor:
        return x + _normed(given, torch.vmap(torch.vmap(one))(weights, x))

    outputs = []
    for q, k, v, eta in zip(*_rows(given, "q", "k", "v", "eta")):
        steps = _descent(lambda *w, k=k, v=v: (model(w, k) - v).square().sum() / 2, weights)
        weights = tuple(w - eta.view(*eta.shape, *[1] * (w.ndim - 2)) * step for w, step in zip(weights, steps))
        outputs.append(model(weights, q))
    return {"o": along(outputs), **dict(zip(("state.W1", "state.b1", "state.W2", "state.b2"), weights))}


def titans(given: Given) -> Tensors:
    """Memory and surprise side by side, [M S], are driven by an affine map of [2 K, 2 K] per position."""
    q, k, v = (given.inputs[name] for name in ("q", "k", "v"))
    theta, eta, alpha = (given.inputs[name][..., None, None] for name in ("theta", "eta", "alpha"))
    eye = torch.eye(k.shape[-1], dtype=k.dtype)
    hessian = 2 * theta * k[..., :, None] * k[..., None, :]
    above = torch.cat(((1 - alpha) * eye - hessian, -hessian), -1)
    below = torch.cat((eta * eye, eta * eye), -1)
    drive = 2 * theta * v[..., :, None] * k[..., None, :]
    start = torch.cat((given.state["M"], given.state["S"]), -1)
    M, S = linear_states(torch.cat((above, below), -2), torch.cat((drive, drive), -1), start).chunk(2, -1)
    return {"y": (M @ q[..., None])[..., 0], "state.M": M[:, -1], "state.S": S[:, -1]}


def titans_batch(given: Given) -> Tensors:
    """Chunk by chunk: gradients at the first memory all at once, then sums with the products of what is kept since."""
    size, outputs = given.sizes["B"], []
    M = S = torch.zeros_like(given.inputs["v"][:, 0, ..., None] * given.inputs["k"][:, 0, :, None])
    for q, k, v, theta, eta, alpha in zip(*(given.inputs[name].split(size, 1) for name in TITANS)):
        gradient = 2 * ((k[..., None, :] @ M[:, None].mT)[..., 0, :] - v)[..., :, None] * k[..., None, :]
        S_all = _discounted(eta, -theta[..., None, None] * gradient, S)
        M_all = _discounted(1 - alpha, S_all, M)
        outputs.append((M_all @ q[..., None])[..., 0])
        M, S = M_all[:, -1], S_all[:, -1]
    return {"y": torch.cat(outputs, 1), "state.M": M, "state.S": S}


def _discounted(kept: torch.Tensor, written: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Sums of what was written, times the products of what was kept since: [B, T, N, V, K]."""
    logs = kept.log().cumsum(1)
    since = (logs[:, :, None] - logs[:, None]).exp() * torch.ones(kept.shape[1], kept.shape[1]).tril()[..., None]
    return torch.einsum("btsn,bsnvk->btnvk", since, written) + logs.exp()[..., None, None] * start[:, None]


def titans_mlp(given: Given) -> Tensors:
    weights = tuple(starting(given, "A1", "A2"))
    surprise: Weights = tuple(torch.zeros_like(w) for w in weights)

    def memory(W1: torch.Tensor, W2: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (W2 @ silu(W1 @ x[..., None]))[..., 0]

    outputs = []
    for q, k, v, theta, eta, alpha in zip(*_rows(given, "q", "k", "v", "theta", "eta", "alpha")):
        theta, eta, alpha = (rate[..., None, None] for rate in (theta, eta, alpha))

        def loss(W1: torch.Tensor, W2: torch.Tensor, k: torch.Tensor = k, v: torch.Tensor = v) -> torch.Tensor:
            return (memory(W1, W2, k) - v).square().sum()

        surprise = tuple(eta * s - theta * d for s, d in zip(surprise, _descent(loss, weights)))
        weights = tuple((1 - alpha) * w + s for w, s in zip(weights, surprise))
        outputs.append(memory(*weights, q))
    return {"y": along(outputs), **dict(zip(("state.W1", "state.W2", "state.S1", "state.S2"), weights + surprise))}


def longhorn(given: Given) -> Tensors:
    """Decays multiply up: each state is the sum of what was written, times the decays since."""
    x, q, k, beta = (given.inputs[name] for name in ("x", "q", "k", "beta"))
    delta = beta / (1 + beta * (k * k).sum(-1, keepdim=True))
    decay = (1 - delta[..., None] * k[..., None, :] ** 2).cumprod(1)
    written = (delta * x)[..., None] * k[..., None, :]
    S = decay * (given.state["S"][:, None] + (written / decay).cumsum(1))
    return {"o": (S @ q[..., None])[..., 0], "state.S": S[:, -1]}


def longhorn_exact(given: Given) -> Tensors:
    """The minimum of each position's loss, found by solving its normal equations."""
    S, outputs = given.state["S"], []
    for x, q, k, beta in zip(*_rows(given, "x", "q", "k", "beta")):
        weighted = (beta[:, None] * k)[:, None]
        normal = torch.eye(k.shape[-1], dtype=k.dtype) + k[..., None] * weighted
        S = torch.linalg.solve(normal, S + x[..., None] * weighted, left=False)
        outputs.append((S @ q[..., None])[..., 0])
    return {"o": along(outputs), "state.S": S}


def _lattice(given: Given, loss: Callable[..., torch.Tensor], read: Callable[..., torch.Tensor]) -> Tensors:
    """Descent on a loss of the normalised slots."""
    (S,) = starting(given, "S0")
    outputs = []
    for q, k, v, gamma in zip(*_rows(given, "q", "k", "v", "gamma")):
        (step,) = _descent(lambda S, k=k, v=v: loss(normalize(S, dim=-1), k, v), (S,))
        S = S - gamma[..., None, None] * step
        outputs.append(read(normalize(S, dim=-1), q))
    return {"o": along(outputs), "state.S": S}


def _mixed(Z: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return (k[..., None, :] @ Z)[..., 0, :]


def _matched(Z: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (Z @ v[..., None])[..., 0]


def lattice(given: Given) -> Tensors:
    return _lattice(given, lambda Z, k, v: (_mixed(Z, k) - v).square().sum() / 2, _mixed)


def lattice_encode(given: Given) -> Tensors:
    return _lattice(given, lambda Z, k, v: (_matched(Z, v) - k).square().sum() / 2, _matched)


def lattice_similarity(given: Given) -> Tensors:
    return _lattice(given, lambda Z, k, v: -(_mixed(Z, k) * v).sum(), _mixed)


HEADS = {"N": 2, "K": 3, "V": 5}
SLOTS = {"N": 2, "M": 3, "V": 5}
TITANS = ("q", "k", "v", "theta", "eta", "alpha")
RATES = dict.fromkeys(("theta", "eta", "alpha"), unit)
AUTOGRAD = "torch.autograd: gradients of the loss"
SLIP_OF_FLA = "fla adds the inner layer norm to q W + b itself; the paper, and this row, add it to q"
SLIP_OF_TITANS = (
    "fla's naive Titans has a layer norm inside the memory, with a gradient that is not the norm's: D * grad is not "
    "divided by rstd * D. The paper has no such norm"
)

ROWS: tuple[Row, ...] = (
    Row("ttt_linear", {"N": 2, "D": 5}, "fla.ops.ttt.naive", ttt_linear, {"eta": unit}, starts=False, slip=SLIP_OF_FLA),
    Row("ttt_linear_batch", {"N": 2, "D": 5, "M": 3}, AUTOGRAD, ttt_linear_batch, {"eta": unit}, starts=False),
    Row("ttt_mlp", {"N": 2, "D": 3, "F": 5}, AUTOGRAD, ttt_mlp, {"eta": unit}, starts=False),
    Row("titans", HEADS, "closed form: an affine map, unrolled", titans, RATES, slip=SLIP_OF_TITANS),
    Row("titans_batch", {**HEADS, "B": 3}, "closed form: discounted sums in chunks", titans_batch, RATES, starts=False),
    Row("titans_mlp", {**HEADS, "F": 7}, AUTOGRAD, titans_mlp, RATES, starts=False),
    Row("longhorn", {"D": 5, "M": 3}, "closed form: cumulative products of decays", longhorn, {"beta": positive}),
    Row("longhorn_exact", {"D": 5, "M": 3}, "torch.linalg.solve", longhorn_exact, {"beta": positive}),
    Row("lattice", SLOTS, AUTOGRAD, lattice, starts=False),
    Row("lattice_encode", SLOTS, AUTOGRAD, lattice_encode, starts=False),
    Row("lattice_similarity", SLOTS, AUTOGRAD, lattice_similarity, starts=False),
    *structured.ROWS,
)
