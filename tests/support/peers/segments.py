"""Recurrence over segments, sentences and bounded sets of positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn.functional import layer_norm, linear, relu, scaled_dot_product_attention

from lsrl.backends.arrays import Array
from support.peers.encoder_layer import encoder_layer
from support.peers.row import Given, Row, Tensors


def recurrent_memory(given: Given) -> Tensors:
    sizes, outputs = given.sizes, []
    memory = given.params["memory0"].expand(given.inputs["x"].shape[0], -1, -1)
    for x in given.inputs["x"].unbind(1):
        z = torch.cat((memory, x), 1)
        for layer in range(sizes["L"]):
            z = encoder_layer(given, z, f"layers.{layer}.")
        memory, y = z.split((sizes["M"], sizes["S"]), 1)
        outputs.append(y)
    return {"y": torch.stack(outputs, 1), "state.memory": memory}


def _heads(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.unflatten(-1, (n, -1)).transpose(-2, -3)


def _attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, n: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    return (
        scaled_dot_product_attention(*(_heads(x, n) for x in (q, k, v)), attn_mask=mask).transpose(-2, -3).flatten(-2)
    )


def _exchanged(given: Given, x: torch.Tensor, before: torch.Tensor | None, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A block's outputs and what the states read; both blocks are normalised again, and no places are kept for none."""
    p = {name.removeprefix("exchange."): tensor for name, tensor in given.params.items()}
    n, (rows, width) = given.sizes["N"], x.shape[-2:]
    norm = {name: (p[f"g{name}"], p[f"b{name}"]) for name in "xca"}
    u, s = layer_norm(x, (width,), *norm["x"]), layer_norm(c, (width,), *norm["c"]) + p["id"]
    recent = u if before is None else torch.cat((layer_norm(before, (width,), *norm["x"]), u), 1)
    age = torch.arange(rows)[:, None] + recent.shape[1] - rows - torch.arange(recent.shape[1])
    mask = (age >= 0) & (age < rows)
    tokens = _attention(linear(u, p["Qxx"]), linear(recent, p["Kx"]), linear(recent, p["Vx"]), n, mask)
    states = _attention(linear(u, p["Qxc"]), linear(s, p["Kc"]), linear(s, p["Vc"]), n)
    a = x + linear(torch.cat((tokens, states), -1), p["W"])
    y = a + linear(relu(linear(layer_norm(a, (width,), *norm["a"]), p["W1"], p["b1"])), p["W2"], p["b2"])
    own = _attention(linear(s, p["Qcc"]), linear(s, p["Kc"]), linear(s, p["Vc"]), n)
    block = _attention(linear(s, p["Qcx"]), linear(u, p["Kx"]), linear(u, p["Vx"]), n)
    return y, torch.cat((own, block), -1)


def _block_recurrent(given: Given, lstm: bool) -> Tensors:
    p, before, outputs = given.params, None, []
    c = p["c0"].expand(given.inputs["x"].shape[0], -1, -1)
    for x in given.inputs["x"].unbind(1):
        y, h = _exchanged(given, x, before, c)
        z = linear(h, p["Wz"], p["bz"])
        if lstm:
            i, f = (linear(h, p[f"W{g}"], p[f"b{g}"]) for g in "if")
            c = c * torch.sigmoid(f + 1) + z.tanh() * torch.sigmoid(i - 1)
        else:
            c = torch.lerp(z, c, p["bg"].sigmoid())
        outputs.append(y)
        before = x
    return {"y": torch.stack(outputs, 1), "state.c": c}


def block_recurrent(given: Given) -> Tensors:
    return _block_recurrent(given, lstm=False)


def block_recurrent_lstm(given: Given) -> Tensors:
    return _block_recurrent(given, lstm=True)


def tova(given: Given) -> Tensors:
    """Lists of keys and values for each sequence, from which one pair is removed."""
    size, n = given.sizes["M"], given.sizes["N"]

    def one(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        kept: list[int] = []
        outputs = []
        for t, q in enumerate(queries):
            kept.append(t)
            outputs.append(_attention(q[None], keys[kept], values[kept], n)[0])
            scores = _heads(q[None], n) @ _heads(keys[kept], n).transpose(-1, -2) / (q.shape[0] / n) ** 0.5
            if len(kept) > size:
                del kept[int(scores.softmax(-1).mean(0)[0].argmin())]
        return torch.stack(outputs)

    return {"o": torch.stack([one(*given_one) for given_one in zip(*(given.inputs[name] for name in "qkv"))])}


QUERIES = (3, 2, 2)  # words of each query, or sentence


def _gru(p: Mapping[str, torch.Tensor], scope: str, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """A step of the unit of Cho et al., 2014: its two gates from one product."""
    W, U, b = (torch.cat([p[f"{scope}{name}{gate}"] for gate in "rz"]) for name in "WUb")
    r, z = (linear(x, W, b) + linear(h, U)).sigmoid().chunk(2, -1)
    candidate = linear(x, p[f"{scope}W"], p[f"{scope}b"]) + linear(r * h, p[f"{scope}U"])
    return torch.lerp(candidate.tanh(), h, z)


def hred(given: Given) -> Tensors:
    """Query by query: its words to a vector, its words decoded from the session before, then the session's step."""
    p, x, sizes = given.params, given.inputs["x"], given.sizes
    session = x.new_zeros(len(x), sizes["S"])
    decoded, sessions = [], []
    for words in x.split(QUERIES, 1):
        code = x.new_zeros(len(x), sizes["E"])
        d = linear(session, p["decoder.D0"], p["decoder.b0"]).tanh()
        for word in words.unbind(1):
            code = _gru(p, "query.gru2014.", word, code)
            d = _gru(p, "decoder.", word, d)
            decoded.append(d)
        sessions += [session] * (words.shape[1] - 1)
        session = _gru(p, "session.gru2014.", code, session)
        sessions.append(session)
    return {"d": torch.stack(decoded, 1), "s": torch.stack(sessions, 1), "state.decoder.d": d}


def hbmp(given: Given) -> Tensors:
    """torch.nn.LSTM in both directions, sentence by sentence, layer upon layer of states."""
    x, sizes = given.inputs["x"], given.sizes
    lstm = torch.nn.LSTM(sizes["D"], sizes["H"], bidirectional=True, batch_first=True, dtype=torch.float64)
    sentences = []
    for sentence in x.split(QUERIES, 1):
        state = (x.new_zeros(2, len(x), sizes["H"]),) * 2
        pooled = []
        for layer in range(sizes["L"]):
            weights = {
                f"{theirs}_{side}_l0{direction}": given.params[f"layers.{layer}.{scope}.{ours}_{side}"]
                for theirs, ours in (("weight", "W"), ("bias", "b"))
                for side in ("ih", "hh")
                for direction, scope in (("", "lstm_from"), ("_reverse", "lstm_from_2"))
            }
            outputs, state = torch.func.functional_call(lstm, weights, (sentence, state))
            pooled.append(outputs.cummax(1).values)
        sentences.append(torch.cat(pooled, -1))
    return {"u": torch.cat(sentences, 1)}


def _marks(*places: int) -> Callable[[Array], Array]:
    """True at these positions of every sequence."""
    return lambda array: np.broadcast_to(np.isin(np.arange(array.shape[1]), places), array.shape).copy()


MARKS = {"first": _marks(0, 3, 5), "last": _marks(2, 4, 6)}
SIZES = {"S": 3, "M": 2, "D": 6, "N": 2, "F": 7}

ROWS: tuple[Row, ...] = (
    Row("recurrent_memory", {**SIZES, "L": 1}, "torch.nn.TransformerEncoderLayer", recurrent_memory, starts=False),
    Row(
        *("block_recurrent", SIZES, "scaled_dot_product_attention", block_recurrent),
        starts=False,
        slip="block-recurrent-transformer-pytorch has g and 1 - g of the fixed gate in each other's place",
    ),
    Row("block_recurrent_lstm", SIZES, "scaled_dot_product_attention", block_recurrent_lstm, starts=False),
    Row("tova", {"M": 3, "D": 6, "N": 2}, "a list of keys and values, one removed when it is full", tova, starts=False),
    Row(
        *("hred", {"X": 3, "E": 5, "S": 4, "D": 6}, "nested loops over queries and their words", hred),
        ranges=MARKS,
        starts=False,
    ),
    Row(*("hbmp", {"D": 3, "H": 5, "L": 2}, "torch.nn.LSTM", hbmp), ranges=MARKS, starts=False),
)
