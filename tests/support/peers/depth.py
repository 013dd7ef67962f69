"""Recurrence in depth, over segments, and over sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import layer_norm, linear, relu, scaled_dot_product_attention

from lsrl.backends.arrays import Array
from support.peers.row import Given, Row, Tensors

LAYER = {
    "self_attn.in_proj_weight": "multihead_attention.W_in",
    "self_attn.in_proj_bias": "multihead_attention.b_in",
    "self_attn.out_proj.weight": "multihead_attention.W_out",
    "self_attn.out_proj.bias": "multihead_attention.b_out",
    **{f"linear{i}.{theirs}": f"{ours}{i}" for i in (1, 2) for theirs, ours in (("weight", "W"), ("bias", "b"))},
    **{f"norm{i}.{theirs}": f"{ours}{i}" for i in (1, 2) for theirs, ours in (("weight", "gamma"), ("bias", "beta"))},
}
"""Names of torch.nn.TransformerEncoderLayer and of the library's layers."""


def _layer(given: Given, x: torch.Tensor, scope: str = "", pre: bool = False, causal: bool = False) -> torch.Tensor:
    """torch.nn.TransformerEncoderLayer, of the sets [..., S, D] at all positions."""
    sizes = given.sizes
    module = torch.nn.TransformerEncoderLayer(
        *(sizes["D"], sizes["N"], sizes["F"]), dropout=0.0, batch_first=True, norm_first=pre, dtype=torch.float64
    )
    weights = {theirs: given.params[scope + ours] for theirs, ours in LAYER.items()}
    mask = torch.triu(torch.full((x.shape[-2],) * 2, -torch.inf, dtype=x.dtype), 1) if causal else None
    return torch.func.functional_call(module, weights, (x.reshape(-1, *x.shape[-2:]), mask)).view(x.shape)


def multihead_attention(given: Given) -> Tensors:
    p, x, y = given.params, given.inputs["x"], given.inputs["y"]
    module = torch.nn.MultiheadAttention(given.sizes["D"], given.sizes["N"], batch_first=True, dtype=torch.float64)
    names = {"in_proj_weight": "W_in", "in_proj_bias": "b_in", "out_proj.weight": "W_out", "out_proj.bias": "b_out"}
    weights = {theirs: p[ours] for theirs, ours in names.items()}
    flat = [each.flatten(0, 1) for each in (x, y, y)]
    return {"o": torch.func.functional_call(module, weights, tuple(flat))[0].view(x.shape)}


def transformer_layer(given: Given) -> Tensors:
    return {"y": _layer(given, given.inputs["x"])}


def transformer_layer_pre_norm(given: Given) -> Tensors:
    return {"y": _layer(given, given.inputs["x"], pre=True, causal=True)}


def _coordinates(places: torch.Tensor, width: int) -> torch.Tensor:
    """Interleaved sines and cosines: [S, D]."""
    angles = places[:, None] / 10000 ** (torch.arange(0, width, 2).double() / width)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)


def universal_transformer(given: Given) -> Tensors:
    """Row by row: probabilities up to where they pass the threshold, then the remainder; outputs interpolated."""
    p, sizes, x = given.params, given.sizes, given.inputs["x"]
    rows, width = x.shape[-2:]
    h, halts, states = x, [], []
    for turn in range(sizes["L"]):
        places = torch.arange(rows).double()
        h = h + _coordinates(places, width) + _coordinates(torch.full_like(places, turn), width)
        halts.append(torch.sigmoid(h @ p["w"] + p["b"]))
        h = _layer(given, h, "layer.")
        states.append(h)
    before = torch.stack(halts).cumsum(0) - torch.stack(halts)
    y, ponder = torch.zeros_like(x), torch.zeros_like(halts[0])
    limit = sizes["threshold_percent"] / 100
    for place in torch.cartesian_prod(*(torch.arange(size) for size in x.shape[:-1])):
        at = tuple(place)
        for turn, state in enumerate(states):
            last = bool(before[(turn, *at)] + halts[turn][at] > limit)
            share = 1 - before[(turn, *at)] if last else halts[turn][at]
            y = y.index_put(at, y[at] * (1 - share) + state[at] * share)
            ponder = ponder.index_put(at, ponder[at] + 1 + (share if last else 0))
            if last:
                break
    return {"y": y, "ponder": ponder}


def intra_layer_recurrence(given: Given) -> Tensors:
    x = given.inputs["x"]
    for scope, turns in (("first.", "R1"), ("second.", "R2"), ("third.", "R3")):
        for _ in range(given.sizes[turns]):
            x = _layer(given, x, scope, pre=True, causal=True)
    return {"y": x}


def recurrent_depth(given: Given) -> Tensors:
    p, sizes, e = given.params, given.sizes, given.inputs["x"]
    for layer in range(sizes["P"]):
        e = _layer(given, e, f"prelude.{layer}.", pre=True, causal=True)
    s = given.inputs["start"] * 0.4**0.5
    for _ in range(sizes["R"]):
        s = linear(torch.cat((e, s), -1), p["W"], p["b"])
        for layer in range(sizes["L"]):
            s = _layer(given, s, f"core.layers.{layer}.", pre=True, causal=True)
    for layer in range(sizes["C"]):
        s = _layer(given, s, f"coda.{layer}.", pre=True, causal=True)
    return {"y": s}


def _read(u: torch.Tensor, m: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """One question reads a memory: softmax attention without a scale."""
    return scaled_dot_product_attention(u[..., None, :], m, c, scale=1.0)[..., 0, :]


def memory_network(given: Given) -> Tensors:
    """Embeddings and encodings as a list: hop k matches with the k-th and reads with the next."""
    p, x, q = given.params, given.inputs["x"], given.inputs["q"]
    scopes = ["", *(f"hops.{k}." for k in range(given.sizes["K"]))]
    tables = [p[f"{scope}{'C' if scope else 'A'}"] for scope in scopes]
    memories = [x @ table.T + p[f"{scope}{'TC' if scope else 'T'}"] for scope, table in zip(scopes, tables)]
    u = q @ tables[0].T
    for m, c in pairwise(memories):
        u = u + _read(u, m, c)
    return {"a": (u @ tables[-1]).softmax(-1)}


def memory_network_layerwise(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"]
    u = linear(given.inputs["q"], p["B"])
    for _ in range(given.sizes["K"]):
        u = linear(u, p["H"]) + _read(u, linear(x, p["A"]) + p["TA"], linear(x, p["C"]) + p["TC"])
    return {"a": linear(u, p["W"]).softmax(-1)}


def recurrent_memory(given: Given) -> Tensors:
    sizes, outputs = given.sizes, []
    memory = given.params["memory0"].expand(given.inputs["x"].shape[0], -1, -1)
    for x in given.inputs["x"].unbind(1):
        z = torch.cat((memory, x), 1)
        for layer in range(sizes["L"]):
            z = _layer(given, z, f"layers.{layer}.")
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
                name: given.params[
                    f"layers.{layer}.lstm_from{suffix}.{theirs.replace('weight', 'W').replace('bias', 'b')}"
                ]
                for name in lstm.state_dict()
                for theirs, backward in [(name.removesuffix("_reverse").removesuffix("_l0"), "reverse" in name)]
                for suffix in ["_2" if backward else ""]
            }
            outputs, state = torch.func.functional_call(lstm, weights, (sentence, state))
            pooled.append(outputs.cummax(1).values)
        sentences.append(torch.cat(pooled, -1))
    return {"u": torch.cat(sentences, 1)}


def _marks(*places: int) -> Callable[[Array], Array]:
    """True at these positions of every sequence."""
    return lambda array: np.broadcast_to(np.isin(np.arange(array.shape[1]), places), array.shape).copy()


def _sizes(**numbers: int) -> Mapping[str, int]:
    return {"D": 6, "N": 2, "F": 7, **numbers}


MARKS = {"first": _marks(0, 3, 5), "last": _marks(2, 4, 6)}
ENCODER = "torch.nn.TransformerEncoderLayer"

ROWS: tuple[Row, ...] = (
    Row(
        "multihead_attention",
        {"S": 3, "R": 5, "D": 6, "N": 2, "causal": 0},
        "torch.nn.MultiheadAttention",
        multihead_attention,
    ),
    Row("transformer_layer", _sizes(S=3), ENCODER, transformer_layer),
    Row("transformer_layer_pre_norm", _sizes(S=3, causal=1), f"{ENCODER}: norm_first", transformer_layer_pre_norm),
    Row(
        "universal_transformer",
        _sizes(S=3, L=4, threshold_percent=90),
        f"{ENCODER}: rows halt one by one",
        universal_transformer,
    ),
    Row("intra_layer_recurrence", _sizes(S=3, R1=2, R2=1, R3=1), ENCODER, intra_layer_recurrence),
    Row("recurrent_depth", _sizes(S=3, P=1, L=1, C=1, R=2), ENCODER, recurrent_depth),
    Row("memory_network", {"M": 3, "V": 7, "D": 5, "K": 3}, "scaled_dot_product_attention", memory_network),
    Row(
        "memory_network_layerwise",
        {"M": 3, "V": 7, "D": 5, "K": 3},
        "scaled_dot_product_attention",
        memory_network_layerwise,
    ),
    Row("recurrent_memory", _sizes(S=3, M=2, L=1), ENCODER, recurrent_memory, starts=False),
    Row(
        *("block_recurrent", _sizes(S=3, M=2), "scaled_dot_product_attention", block_recurrent),
        starts=False,
        slip="block-recurrent-transformer-pytorch has g and 1 - g of the fixed gate in each other's place",
    ),
    Row("block_recurrent_lstm", _sizes(S=3, M=2), "scaled_dot_product_attention", block_recurrent_lstm, starts=False),
    Row("tova", {"M": 3, "D": 6, "N": 2}, "a list of keys and values, one removed when it is full", tova, starts=False),
    Row(
        *("hred", {"X": 3, "E": 5, "S": 4, "D": 6}, "nested loops over queries and their words", hred),
        ranges=MARKS,
        starts=False,
    ),
    Row(*("hbmp", {"D": 3, "H": 5, "L": 2}, "torch.nn.LSTM", hbmp), ranges=MARKS, starts=False),
)
