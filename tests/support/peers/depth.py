"""Recurrence in depth, over segments, and over sets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch.nn.functional import conv1d, linear, max_pool1d, relu, scaled_dot_product_attention

from support.peers import segments
from support.peers.encoder_layer import encoder_layer
from support.peers.row import Given, Row, Tensors


def multihead_attention(given: Given) -> Tensors:
    p, x, y = given.params, given.inputs["x"], given.inputs["y"]
    module = torch.nn.MultiheadAttention(given.sizes["D"], given.sizes["N"], batch_first=True, dtype=torch.float64)
    names = {"in_proj_weight": "W_in", "in_proj_bias": "b_in", "out_proj.weight": "W_out", "out_proj.bias": "b_out"}
    weights = {theirs: p[ours] for theirs, ours in names.items()}
    flat = [each.flatten(0, 1) for each in (x, y, y)]
    return {"o": torch.func.functional_call(module, weights, tuple(flat))[0].view(x.shape)}


def transformer_layer(given: Given) -> Tensors:
    return {"y": encoder_layer(given, given.inputs["x"])}


def transformer_layer_pre_norm(given: Given) -> Tensors:
    return {"y": encoder_layer(given, given.inputs["x"], pre=True, causal=True)}


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
        h = encoder_layer(given, h, "layer.")
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
            x = encoder_layer(given, x, scope, pre=True, causal=True)
    return {"y": x}


def recurrent_depth(given: Given) -> Tensors:
    p, sizes, e = given.params, given.sizes, given.inputs["x"]
    for layer in range(sizes["P"]):
        e = encoder_layer(given, e, f"prelude.{layer}.", pre=True, causal=True)
    s = given.inputs["start"] * 0.4**0.5
    for _ in range(sizes["R"]):
        s = linear(torch.cat((e, s), -1), p["W"], p["b"])
        for layer in range(sizes["L"]):
            s = encoder_layer(given, s, f"core.layers.{layer}.", pre=True, causal=True)
    for layer in range(sizes["C"]):
        s = encoder_layer(given, s, f"coda.{layer}.", pre=True, causal=True)
    return {"y": s}


def adaptive_tokenizer(given: Given) -> Tensors:
    x = given.inputs["x"]
    z = x[..., :0, :]
    for _ in range(given.sizes["L"]):
        z = torch.cat((z, given.params["new"].expand(*x.shape[:2], -1, -1)), -2)
        y = encoder_layer(given, torch.cat((x, z), -2), "layer.")
        x, z = y.tensor_split((x.shape[-2],), -2)
    return {"tokens": z}


def recursive_encoder(given: Given) -> Tensors:
    p, x = given.params, given.inputs["x"].flatten(0, 1)
    for _ in range(given.sizes["L"]):
        h = relu(conv1d(x, p["group.W1"], p["group.b1"], padding=1))
        x = max_pool1d(relu(conv1d(h, p["group.W2"], p["group.b2"], padding=1) + x), 2)
    return {"y": x.unflatten(0, given.inputs["x"].shape[:2])}


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


def _sizes(**numbers: int) -> Mapping[str, int]:
    return {"D": 6, "N": 2, "F": 7, **numbers}


HALTING = _sizes(S=3, L=4, threshold_percent=90)
MEMORY = {"M": 3, "V": 7, "D": 5, "K": 3}
ENCODER = "torch.nn.TransformerEncoderLayer"

ROWS: tuple[Row, ...] = (
    Row("multihead_attention", {"S": 3, "R": 5, "D": 6, "N": 2}, "torch.nn.MultiheadAttention", multihead_attention),
    Row("transformer_layer", _sizes(S=3), ENCODER, transformer_layer),
    Row("transformer_layer_pre_norm", _sizes(S=3, causal=1), f"{ENCODER}: norm_first", transformer_layer_pre_norm),
    Row("universal_transformer", HALTING, f"{ENCODER}: rows halt one by one", universal_transformer),
    Row("intra_layer_recurrence", _sizes(S=3, R1=2, R2=1, R3=1), ENCODER, intra_layer_recurrence),
    Row("recurrent_depth", _sizes(S=3, P=1, L=1, C=1, R=2), ENCODER, recurrent_depth),
    Row("memory_network", MEMORY, "scaled_dot_product_attention", memory_network),
    Row("memory_network_layerwise", MEMORY, "scaled_dot_product_attention", memory_network_layerwise),
    Row("adaptive_tokenizer", _sizes(S=3, K=2, L=3), ENCODER, adaptive_tokenizer),
    Row("recursive_encoder", {"C": 3, "S": 12, "L": 2}, "torch.nn.functional.conv1d", recursive_encoder),
    *segments.ROWS,
)
