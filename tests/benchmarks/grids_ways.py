"""pLSTM over a grid in its published P-form: ours, the published implementation's, and loops over places.

Everything is a function of q, k [B, Y, X, N, K], v [B, Y, X, N, V] and the gates t, s, m, d [B, Y, X, N], as
`std/plstm2d_code` has them; what it gives is [B, Y, X, N, V].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import published
from ways import Arrays, Way

import lsrl
from lsrl.ir.fault import Refusal

PROGRAM = "std/plstm2d_code"
SCHEDULES = ("auto", "dag", "dag(8)")
NAMES = ("q", "k", "v", "t", "s", "m", "d")


def draw(height: int, width: int, size: int, dtype: str, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs and a cotangent: one grid, one head, memories of size x size, gates between 0 and 1."""
    rng = np.random.default_rng(seed)
    vectors = {name: rng.normal(size=(1, height, width, 1, size)).astype(dtype) for name in "qkv"}
    gates = {name: (1 / (1 + np.exp(-rng.normal(size=(1, height, width, 1))))).astype(dtype) for name in "tsmd"}
    return vectors | gates, rng.normal(size=(1, height, width, 1, size)).astype(dtype)


def own(framework: str, arrays: Arrays, device: str) -> Iterator[Way]:
    """Every schedule that the program takes in this framework, `auto` with what it chose for this grid."""
    batch, *extents = arrays["q"].shape[:3]
    sizes = {"N": arrays["q"].shape[3], "K": arrays["q"].shape[4], "V": arrays["v"].shape[4]}
    run = {"device": "h200" if device == "cuda" else "cpu", "batch": batch, "length": extents[0] * extents[1]}
    for schedule in SCHEDULES:
        try:
            made = lsrl.compile(lsrl.load(PROGRAM), _TARGETS[framework], sizes, schedule, str(arrays["q"].dtype), **run)
        except Refusal:  # not legal on this target: then it is no way
            continue
        name = f"auto ({made.schedule.hows['R']})" if schedule == "auto" else schedule
        yield Way(f"ours, {name}", framework, lambda inputs, made=made: made({}, inputs).outputs["o"])


_TARGETS = {"torch": "triton", "jax": "jax"}


def loop(framework: str) -> Way:
    """What people write by hand: one place after the other, all heads and sequences at once."""
    return Way("node by node", framework, {"torch": _torch_loop, "jax": _jax_loop}[framework])


def _torch_loop(inputs: dict[str, Any]) -> Any:
    import torch

    batch, height, width, heads, size = inputs["q"].shape
    state = (batch, heads, size, inputs["v"].shape[-1])
    down = [inputs["q"].new_zeros(state)] * width
    rows = [zip(*(inputs[name][:, y].unbind(1) for name in NAMES)) for y in range(height)]
    found = []
    for row in rows:
        right = inputs["q"].new_zeros(state)
        for x, (q, k, v, t, s, m, d) in enumerate(row):
            arrived, written = right + down[x], k[..., :, None] * v[..., None, :]
            t, s = t[..., None, None], s[..., None, None]
            right, down[x] = t * arrived + s * written, (1 - t) * arrived + (1 - s) * written
            read = m[..., None] * (q[..., None, :] @ arrived)[..., 0, :]
            found.append((read + (d * (q * k).sum(-1))[..., None] * v) / size**0.5)
    return torch.stack(found, 1).reshape(batch, height, width, heads, -1)


def _jax_loop(inputs: dict[str, Any]) -> Any:
    import jax
    import jax.numpy as jnp

    batch, _, width, heads, size = inputs["q"].shape
    state = (batch, heads, size, inputs["v"].shape[-1])

    def place(right: Any, at: Any) -> Any:
        down, q, k, v, t, s, m, d = at
        arrived, written = right + down, k[..., :, None] * v[..., None, :]
        t, s = t[..., None, None], s[..., None, None]
        read = m[..., None] * (q[..., None, :] @ arrived)[..., 0, :]
        output = (read + (d * (q * k).sum(-1))[..., None] * v) / size**0.5
        return t * arrived + s * written, ((1 - t) * arrived + (1 - s) * written, output)

    def row(down: Any, at: Any) -> Any:
        return jax.lax.scan(place, jnp.zeros(state, down.dtype), (down, *at))[1]

    by_place = [jnp.moveaxis(inputs[name], (1, 2), (0, 1)) for name in NAMES]
    found = jax.lax.scan(row, jnp.zeros((width, *state), inputs["q"].dtype), by_place)[1]
    return jnp.moveaxis(found, (0, 1), (1, 2))


def theirs(framework: str, folder: Path, levels: Mapping[str, int], device: str) -> Iterator[Way]:
    """The published function at each of its levels, by what they are called.

    Its chunks have 2 ** level places on a side: level 0 is its recurrent form, the logarithm of the grid's side its
    parallel one.  On a GPU it is compiled too.
    """
    function = {
        "torch": lambda: published.load(folder, "plstm.torch.plstm_2d").pLSTM2D_torch,
        "jax": lambda: published.load(folder, "plstm.nnx.plstm_2d").pLSTM2D_jax,
    }[framework]()
    for name, level in levels.items():

        def run(inputs: dict[str, Any], level: int = level) -> Any:
            return function(**_published_form(inputs), levels=level)[..., 0]

        yield Way(f"published, {name}", framework, run, to_published, from_published)
        if device == "cuda":
            import torch

            yield Way(f"published, {name}, compiled", framework, torch.compile(run), to_published, from_published)


def _published_form(inputs: dict[str, Any]) -> dict[str, Any]:
    """Its arguments, with 1 for each of its state tracking dimensions.

    Its two axes are x and y, states go right (along x) and down, and arrive from the left and from above.
    """
    t, s, m, d = (inputs[name] for name in "tsmd")
    t, s, m = t[..., None, None], s[..., None, None, None], m[..., None, None, None]
    through = {"T0_rl": t, "T0_ru": t, "T0_dl": 1 - t, "T0_du": 1 - t}
    vectors = {name: inputs[name.lower()][..., None] for name in "QKV"}
    return vectors | through | {"S0_r": s, "S0_d": 1 - s, "M0_l": m, "M0_u": m, "D0": d[..., None, None, None, None]}


def to_published(array: np.ndarray) -> np.ndarray:
    """[B, Y, X, N, ...] as [B * N, X, Y, ...]."""
    moved = np.moveaxis(array, (3, 2), (1, 2))
    return np.ascontiguousarray(moved.reshape(-1, *moved.shape[2:]))


def from_published(array: np.ndarray) -> np.ndarray:
    """The inverse of `to_published`, of one sequence."""
    return np.moveaxis(array[None], (1, 2), (3, 2))
