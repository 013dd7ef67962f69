"""Evaluating values of a graph: one NumPy function per operation, in an order that puts operands first."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation import axes, between, elementwise, exact, spatial
from lsrl.backends.evaluation.scope import Kernel, Scope, places
from lsrl.ir.infer import dim
from lsrl.ir.value import Attr, Value, depends_on, postorder

Env = dict[Value, Array]
"""The arrays of values that are known."""


def _const(value: Value, _: Sequence[Array], scope: Scope) -> Array:
    return np.array(_number(value.attr("value")), scope.dtype(value.kind))


def _size(value: Value, _: Sequence[Array], scope: Scope) -> Array:
    return np.array(scope.shape((dim(value.attr("dim")),))[0])


def _iota(value: Value, _: Sequence[Array], scope: Scope) -> Array:
    return np.arange(*scope.shape(value.shape))


KERNELS: Mapping[str, Kernel] = {
    "const": _const,
    "size": _size,
    "iota": _iota,
    **elementwise.KERNELS,
    **axes.KERNELS,
    **spatial.KERNELS,
    **between.KERNELS,
}


EXACT_KERNELS: Mapping[str, Kernel] = {**KERNELS, **exact.KERNELS}


def evaluate(roots: Iterable[Value], env: Env, scope: Scope) -> list[Array]:
    """The arrays of the roots; everything computed on the way is added to `env`."""
    wanted = tuple(roots)
    run(order(wanted, env), env, scope)
    return [env[root] for root in wanted]


def order(roots: Iterable[Value], known: Iterable[Value]) -> tuple[Value, ...]:
    """The values to compute for the roots when some are known, operands first."""
    stop = frozenset(known)
    return tuple(v for v in postorder(roots, stop=stop.__contains__) if v not in stop)


def split_loop(roots: Iterable[Value], inner: Container[Value]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """What a loop that changes the values `inner` computes for the roots, and what it uses from outside."""
    wanted = tuple(roots)
    tied = depends_on(wanted, inner.__contains__)
    body = tuple(value for value in postorder(wanted, stop=inner.__contains__) if value in tied and value not in inner)
    used = dict.fromkeys([*(arg for value in body for arg in value.args), *wanted])
    return body, tuple(value for value in used if value not in tied)


def run(values: Sequence[Value], env: Env, scope: Scope) -> None:
    """Compute values in order.  What is undefined (0 / 0, log -1) is nan or inf, as IEEE 754 has it, without a word."""
    kernels = EXACT_KERNELS if scope.exact else KERNELS
    with np.errstate(all="ignore"):
        for value in values:
            args = [env[arg] for arg in value.args]
            array = scope.held(kernels[value.op](value, args, scope), value.kind)
            env[value] = array
            assert array.shape == (*places(value, array), *scope.shape(value.shape)), (value, array.shape)


def _number(attr: Attr) -> object:
    """A constant as NumPy takes it: exact fractions are rounded once, beyond the largest float they are infinite."""
    match attr:
        case tuple():
            return [_number(item) for item in attr]
        case "pi":
            return np.pi
        case Fraction():
            return _rounded(attr)
        case _:
            return attr


def _rounded(fraction: Fraction) -> float:
    try:
        return float(fraction)
    except OverflowError:
        return float("inf") if fraction > 0 else float("-inf")
