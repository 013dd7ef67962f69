"""Spatial convolution and its adjoints in NumPy, one tap of the kernel after the other.

x is [C, *spatial], the kernel [O, C / groups, *taps] and the result [O, *out]: at each tap the result's places see
one window of the padded x, and `out += W_tap @ window`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array, Index
from lsrl.backends.evaluation.axes import contract
from lsrl.backends.evaluation.scope import Kernel, Scope, common_places
from lsrl.ir.infer import integer, integers
from lsrl.ir.value import Value


@dataclass(frozen=True)
class Window:
    """Which places of the padded operand each tap of the kernel meets."""

    taps: tuple[int, ...]
    out: tuple[int, ...]
    value: Value

    def numbers(self, name: str) -> tuple[int, ...]:
        return integers(self.value.attr(name))

    @property
    def groups(self) -> int:
        return integer(self.value.attr("groups"))

    @property
    def padding(self) -> list[tuple[int, int]]:
        numbers = self.numbers("padding")
        return list(zip(numbers[0::2], numbers[1::2]))

    def offsets(self) -> Iterator[tuple[tuple[int, ...], Index]]:
        """Each tap and the index of the places that it meets."""
        for tap in np.ndindex(*self.taps):
            starts = [place * step for place, step in zip(tap, self.numbers("dilation"))]
            met = [
                slice(start, start + (size - 1) * step + 1, step) if size else slice(0, 0)
                for start, size, step in zip(starts, self.out, self.numbers("stride"))
            ]
            yield tap, (..., *met)

    def grouped(self, x: Array) -> Array:
        """[..., C, *out] to [..., groups, C / groups, places]."""
        lead = x.ndim - 1 - len(self.out)
        return x.reshape(*x.shape[:lead], self.groups, x.shape[lead] // self.groups, int(np.prod(self.out)))

    def ungrouped(self, x: Array) -> Array:
        """The way back."""
        return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], *self.out)

    def tap(self, w: Array, tap: tuple[int, ...]) -> Array:
        """One tap of a kernel [..., O, C / groups, *taps] as [..., groups, O / groups, C / groups]."""
        index: Index = (..., *tap)
        matrix = w[index]
        return matrix.reshape(*matrix.shape[:-2], self.groups, matrix.shape[-2] // self.groups, matrix.shape[-1])


def _padded(x: Array, window: Window) -> Array:
    return np.pad(x, [(0, 0)] * (x.ndim - len(window.out)) + window.padding)


def _conv(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    x, w = (array.astype(scope.dtype(value.kind), copy=False) for array in args)
    window = Window(w.shape[-(value.rank - 1) :], scope.shape(value.shape)[1:], value)
    wide, total = _padded(x, window), scope.zeros(common_places(value, args), value)
    for tap, places in window.offsets():
        met = window.grouped(wide[places])
        total += window.ungrouped(contract("gcp,goc->gop", met, window.tap(w, tap)))
    return total


def _conv_dx(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    g, w = (array.astype(scope.dtype(value.kind), copy=False) for array in args)
    axes = value.rank - 1
    window = Window(w.shape[-axes:], g.shape[-axes:], value)
    wide = _padded(scope.zeros(common_places(value, args), value), window)
    for tap, places in window.offsets():
        wide[places] += window.ungrouped(contract("gop,goc->gcp", window.grouped(g), window.tap(w, tap)))
    sizes = scope.shape(value.shape)[1:]
    inner: Index = (..., *(slice(low, low + size) for (low, _), size in zip(window.padding, sizes)))
    return wide[inner]


def _conv_dw(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    x, g = (array.astype(scope.dtype(value.kind), copy=False) for array in args)
    axes = value.rank - 2
    window = Window(scope.shape(value.shape)[2:], g.shape[-axes:], value)
    wide, kernel = _padded(x, window), scope.zeros(common_places(value, args), value)
    for tap, places in window.offsets():
        met = window.grouped(wide[places])
        matrix = contract("gcp,gop->goc", met, window.grouped(g))
        index: Index = (..., *tap)
        kernel[index] = matrix.reshape(*kernel.shape[: kernel.ndim - axes])
    return kernel


KERNELS: Mapping[str, Kernel] = {"conv": _conv, "conv_dx": _conv_dx, "conv_dw": _conv_dw}
