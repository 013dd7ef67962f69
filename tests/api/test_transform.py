"""A layer with a larger state computes what its equations say of the old parameters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import lsrl
from lsrl.transform import TransformError, expand_state

B, T, D = 2, 7, 5
Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def drawn(program: lsrl.Program, sizes: dict[str, int]) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    cell, numbers = program.bind(sizes)
    return {p.name: generator.normal(size=[dim.evaluate(numbers) for dim in p.shape]) for p in cell.params}


def test_heads_of_gated_linear_attention_become_one() -> None:
    """Queries, keys and values of all heads are one vector each: masked attention with their products of decays."""
    program = lsrl.load("std/blocks/gla")
    heads, keys, values = 3, 2, 4
    sizes = {"D": D, "N": heads, "K": keys, "V": values, "R": 2}
    one = {"N": 1, "K": heads * keys, "V": heads * values}
    params = drawn(program, sizes)
    expanded = expand_state(program, params, sizes, one)
    x = np.random.default_rng(1).normal(size=(B, T, D))
    found = program.reference(expanded, {"x": x}, sizes={**sizes, **one})

    q, k, v, g = (x @ params[f"{name}_proj"].T for name in "qkvg")
    gate = x @ params["gk_proj_0"].T @ params["gk_proj_1"].T + params["gk_proj_1_bias"]
    decay = np.cumsum(np.log(sigmoid(gate)) / 16, axis=1)
    since = np.exp(decay[:, :, None] - decay[:, None])
    scores = np.tril(np.einsum("btk,bsk,btsk->bts", q, k, since)) / np.sqrt(heads * keys)
    o = scores @ v
    weight = np.concatenate([params["g_norm_swish_gate.weight"]] * heads)
    normed = o / np.sqrt((o**2).mean(-1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(
        found.outputs["y"], (normed * g * sigmoid(g)) @ params["o_proj"].T, rtol=1e-10, atol=1e-12
    )
    assert found.state["attention.S"][0].size == heads * heads * keys * values


GROUPED = """
cell grouped(G, N, V, D):
    input x: [D], a: []
    param W: [V + 2*G*N, D]
    state S: [G, N, V] = 0
    v, b, c = split(W @ x, [V, G * N, G * N])
    S' = a * S + einsum("g n, v -> g n v", reshape(b, [G, N]), v)
    output y = einsum("g n, g n v -> g v", reshape(c, [G, N]), S')
"""


def test_copies_of_keys_and_queries_add_up() -> None:
    """Each group's state holds every key r times, so that its reads are r times as large."""
    program = lsrl.parse(GROUPED)
    sizes = {"G": 2, "N": 3, "V": 4, "D": D}
    params = drawn(program, sizes)
    parts = {"W": [("V",), ("G", "N"), ("G", "N")]}
    expanded = expand_state(program, params, sizes, {"N": 9}, parts)
    generator = np.random.default_rng(1)
    inputs = {"x": generator.normal(size=(B, T, D)), "a": generator.uniform(size=(B, T))}
    found, before = (program.reference(p, inputs, sizes={**sizes, "N": n}) for p, n in ((expanded, 9), (params, 3)))
    np.testing.assert_allclose(found.outputs["y"], 3 * before.outputs["y"], rtol=1e-12)


def test_mamba2_reads_more_of_its_state() -> None:
    """Attention with scores that are four times as large."""
    program = lsrl.load("std/blocks/mamba2")
    sizes = {"d_model": D, "nheads": 4, "headdim": 3, "ngroups": 2, "d_state": 3, "d_conv": 2}
    params = drawn(program, sizes)
    inner, keys = ("nheads", "headdim"), ("ngroups", "d_state")
    convolved = [inner, keys, keys]
    parts = {"in_proj": [inner, *convolved, ("nheads",)], "conv1d.weight": convolved, "conv1d.bias": convolved}
    expanded = expand_state(program, params, sizes, {"d_state": 12}, parts)
    u = np.random.default_rng(1).normal(size=(B, T, D))
    found = program.reference(expanded, {"u": u}, sizes={**sizes, "d_state": 12})

    z, xbc, dt = np.split(u @ params["in_proj"].T, [12, 36], axis=-1)
    before = np.pad(xbc, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    xbc = before * params["conv1d.weight"][:, 0] + xbc * params["conv1d.weight"][:, 1] + params["conv1d.bias"]
    x, b, c = np.split(xbc * sigmoid(xbc), [12, 18], axis=-1)
    x = x.reshape(B, T, 4, 3)
    step = np.log1p(np.exp(dt + params["dt_bias"]))
    decay = np.cumsum(-np.exp(params["A_log"]) * step, axis=1)
    similar = np.einsum("btgn,bsgn->btsg", c.reshape(B, T, 2, 3), b.reshape(B, T, 2, 3)).repeat(2, axis=-1)
    past = np.tril(np.ones((T, T)))[..., None]
    scores = 4 * similar * np.exp(np.where(past, decay[:, :, None] - decay[:, None], 0)) * past
    y = np.einsum("btsh,bsh,bshp->bthp", scores, step, x) + params["D"][:, None] * x
    gated = (y.reshape(B, T, 12) * z * sigmoid(z)).reshape(B, T, 2, 6)
    normed = gated / np.sqrt((gated**2).mean(-1, keepdims=True) + 1e-5)
    wanted = (normed.reshape(B, T, 12) * params["norm_weight"]) @ params["out_proj"].T
    np.testing.assert_allclose(found.outputs["y"], wanted, rtol=1e-10, atol=1e-12)


HEADS = """
cell leaky(N, K) heads N:
    input x: [K]
    param W: [K], a: [] ~ uniform(1/4, 1/2)
    state h: [K] = 0
    h' = a * h + W * x
    output h'
"""


def test_what_each_head_has_is_laid_side_by_side_or_drawn_anew() -> None:
    program = lsrl.parse(HEADS)
    sizes, one = {"N": 3, "K": 2}, {"N": 1, "K": 6}
    params = drawn(program, sizes)
    expanded = expand_state(program, params, sizes, one, fresh=["a"])
    np.testing.assert_array_equal(expanded["W"], params["W"].reshape(1, 6))
    assert expanded["a"].shape == (1,)
    assert 1 / 4 <= expanded["a"][0] <= 1 / 2


def test_what_cannot_be_expanded_is_refused() -> None:
    program = lsrl.parse(HEADS)
    sizes, one = {"N": 3, "K": 2}, {"N": 1, "K": 6}
    params = drawn(program, sizes)
    with pytest.raises(TransformError, match=r"the parameter a is \[3\] and would be \[1\]; name it in `fresh`"):
        expand_state(program, params, sizes, one)
    with pytest.raises(TransformError, match="has no parameter b"):
        expand_state(program, params, sizes, one, fresh=["b"])
    with pytest.raises(TransformError, match="the parameter W is missing"):
        expand_state(program, {"a": params["a"]}, sizes, one)
    with pytest.raises(TransformError, match=r"the parameter W is \[3, 3\], not \[3, 2\]"):
        expand_state(program, {**params, "W": np.zeros((3, 3))}, sizes, one)
    with pytest.raises(TransformError, match="the parts of W add up to 2, and it has 3"):
        expand_state(program, params, sizes, {"K": 4}, {"W": [("K",)]})
    with pytest.raises(TransformError, match="there is no size M"):
        expand_state(program, params, sizes, {"K": 4}, {"W": [("M",)]})
