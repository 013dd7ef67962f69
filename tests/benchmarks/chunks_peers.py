"""Published forms of matrix memories: flash-linear-attention and mlstm_kernels, as functions of our arrays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from families import CPU, Missing, Row
from ways import Way

FLA, MLSTM, LOOP, SCAN = "fla", "mlstm_kernels", "PyTorch loop", "lax.scan"
Function = Callable[[dict[str, Any]], Any]

PLAIN = {
    "gated_delta": "gated_delta_rule.naive:naive_chunk_gated_delta_rule",
    "kda": "kda.naive:naive_chunk_kda",
    "simple_gla": "simple_gla.naive:naive_chunk_simple_gla",
    "retention": "simple_gla.naive:naive_chunk_simple_gla",
    "gla": "gla.naive:naive_recurrent_gla",
}
KERNELS = {
    "gated_delta": "gated_delta_rule:chunk_gated_delta_rule",
    "delta": "delta_rule:chunk_delta_rule",
    "kda": "kda:chunk_kda",
    "simple_gla": "simple_gla:chunk_simple_gla",
    "retention": "simple_gla:chunk_simple_gla",
    "gla": "gla:chunk_gla",
}
"""Where each is below `fla.ops`; retention is gated by a constant there."""
SCALED = ("retention", "gla")
"""Programs that divide queries by the root of K themselves; the others leave it to the caller."""


def decays(heads: int) -> np.ndarray:
    """RetNet's: 1 - 2^(-5 - head)."""
    return (1 - 2.0 ** (-5 - np.arange(heads))).astype(np.float32)


def fla(row: Row) -> Way | Missing:
    """What flash-linear-attention has for a row: plain PyTorch on a CPU (of GLA a loop alone), kernels on a GPU."""
    if find_spec("fla") is None:
        return Missing(FLA, "fla-core is not installed")
    cell = row.program.removeprefix("std/")
    module, _, function = (PLAIN if row.device == CPU else KERNELS)[cell].partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there is no GPU
        kind = getattr(import_module(f"fla.ops.{module}"), function)
    scale = row.sizes["K"] ** -0.5 if cell in SCALED else 1.0
    name = {"naive_recurrent_gla": f"{FLA}, plain loop"}.get(function, f"{FLA}, plain chunks")
    return Way(name if row.device == CPU else f"{FLA}, kernels", "torch", _called(cell, kind, scale))


def _called(cell: str, kind: Any, scale: float) -> Function:
    """Gates by their logarithms."""
    forms: dict[str, Function] = {
        "gated_delta": lambda a: kind(a["q"], a["k"], a["v"], a["a"].float().log(), a["b"], scale=scale),
        "delta": lambda a: kind(a["q"], a["k"], a["v"], a["b"], scale=scale),
        "kda": lambda a: kind(a["q"], a["k"], a["v"], a["a"].float().log(), a["b"], scale=scale),
        "simple_gla": lambda a: kind(a["q"], a["k"], a["v"], a["g"], scale=scale),
        "retention": lambda a: kind(a["q"], a["k"], a["v"], _everywhere(a["gamma"].float().log(), a["q"]), scale=scale),
        "gla": lambda a: kind(a["q"], a["k"], a["v"], a["log_a"]),
    }
    form = forms[cell]
    return lambda arrays: form(arrays)[0]


def _everywhere(gate: Any, like: Any) -> Any:
    """A gate per head [N] at every position [B, T, N]."""
    return gate.expand(*like.shape[:2], -1)


def mlstm_kernels(row: Row) -> Way | Missing:
    """The chunks of mlstm_kernels, [B, N, T, ...]: its plain PyTorch form on a CPU, its kernels on a GPU.

    It divides queries by the root of K, which std/mlstm leaves to the caller.
    """
    if find_spec("mlstm_kernels") is None:
        return Missing(MLSTM, "mlstm_kernels is not installed")
    named = "native_autograd" if row.device == CPU else "triton_xl_chunk"
    kind = import_module("mlstm_kernels.torch.chunkwise").registry[named]
    root = math.sqrt(row.sizes["K"])

    def run(arrays: dict[str, Any]) -> Any:
        q, k, v, i, f = (arrays[name].transpose(1, 2) for name in ("q", "k", "v", "i", "f"))
        return kind(q * root, k, v, i, f, chunk_size=64, eps=0.0).transpose(1, 2)

    return Way(f"{MLSTM}, {'plain chunks' if row.device == CPU else 'kernels'}", "torch", run)
