"""A small evaluator of graphs in NumPy, for tests of laws: written apart from the reference, each checks the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from lsrl.ir.dims import Dim
from lsrl.ir.value import Kind, Value, postorder

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = {Kind.BOOL: np.bool_, Kind.INT: np.int64, Kind.FLOAT: np.float64, Kind.COMPLEX: np.complex128}


def evaluate(root: Value, leaves: Mapping[str, Array], sizes: Mapping[str, int]) -> Array:
    """The value on arrays by leaf name, at `sizes`; every intermediate result has the dtype of its kind."""
    done: dict[Value, Array] = {}
    with np.errstate(all="ignore"):
        for value in postorder([root]):
            args = [done[arg] for arg in value.args]
            if value.op in PROMOTING:
                args = [arg.astype(np.result_type(arg, np.int64, DTYPES[value.kind])) for arg in args]
            result = _leaf(value, leaves, sizes) if not args else FUNCTIONS[value.op](value, sizes, *args)
            done[value] = np.asarray(result).astype(DTYPES[value.kind])
            if value.op in PROMOTING:
                done[value] = np.broadcast_to(done[value], _numbers(value.shape, sizes))
    return done[root]


def _numbers(shape: tuple[Dim, ...], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dim.evaluate(sizes) for dim in shape)


def _leaf(value: Value, leaves: Mapping[str, Array], sizes: Mapping[str, int]) -> Array:
    match value.op:
        case "const":
            return np.array(_literal(value.attr("value")))
        case "size":
            return np.array(value.attr("dim").evaluate(sizes))  # type: ignore[union-attr]
        case "iota":
            return np.arange(value.shape[0].evaluate(sizes))
    return leaves[str(value.attr("name"))]


def _literal(constant: object) -> object:
    match constant:
        case tuple():
            return [_literal(item) for item in constant]
        case "pi":
            return math.pi
        case Fraction():
            return float(constant)
    return constant


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value, sizes, *args: function(*args)


def _over_axes(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value, sizes, x: function(x, axis=value.attr("axes"))


def _logsumexp(x: Array, axis: Any) -> Array:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=axis)) + np.squeeze(top, axis=axis)


def _along(x: Array, axis: int, places: Array) -> Array:
    return np.take(x, np.clip(places, 0, x.shape[axis] - 1), axis=axis)


def _slice(value: Value, sizes: Mapping[str, int], x: Array) -> Array:
    start, size, step = (value.attr(name) for name in ("start", "size", "step"))
    first, count = Dim.of(start).evaluate(sizes), Dim.of(size).evaluate(sizes)  # type: ignore[arg-type]
    return np.take(x, first + step * np.arange(count), axis=value.attr("axis"))  # type: ignore[operator,arg-type]


def _expand(value: Value, sizes: Mapping[str, int], x: Array) -> Array:
    return np.broadcast_to(np.expand_dims(x, value.attr("axes")), _numbers(value.shape, sizes))  # type: ignore[arg-type]


def _softmax(value: Value, sizes: Mapping[str, int], x: Array) -> Array:
    e = np.exp(x - np.max(x, axis=value.attr("axis"), keepdims=True))  # type: ignore[arg-type]
    return e / np.sum(e, axis=value.attr("axis"), keepdims=True)  # type: ignore[arg-type]


def _sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


_erf = np.vectorize(math.erf, otypes=[np.float64])
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("sign", "floor", "ceil", "exp", "log", "sqrt", "expm1", "log1p", "sin")},
    **{name: getattr(np, name) for name in ("cos", "tan", "tanh", "abs", "conj", "logaddexp")},
    "round": np.rint, "relu": lambda x: np.maximum(x, 0), "neg": np.negative,
    "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": _sigmoid, "softplus": _softplus,
    "logsigmoid": lambda x: -_softplus(-x), "silu": lambda x: x * _sigmoid(x), "erf": _erf,
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))), "cis": lambda x: np.cos(x) + 1j * np.sin(x),
    "re": np.real, "im": np.imag, "arg": np.angle, "stopgrad": lambda x: x,
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "pow": np.power,
    "mod": np.mod, "floordiv": np.floor_divide, "max": np.maximum, "min": np.minimum, "atan2": np.arctan2,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not, "where": np.where,
}  # fmt: skip
PROMOTING = frozenset(ELEMENTWISE) - {"where", "and", "or", "xor", "not"}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _plain(function) for name, function in ELEMENTWISE.items()},
    "cast": lambda value, sizes, x: x if value.kind in (Kind.COMPLEX, Kind.BOOL) else x.real,
    "einsum": lambda value, sizes, *args: np.einsum(value.attr("spec"), *args),
    "transpose": lambda value, sizes, x: np.transpose(x, value.attr("perm")),
    "reshape": lambda value, sizes, x: np.reshape(x, _numbers(value.shape, sizes)),
    "expand": _expand,
    "slice": _slice,
    "select": lambda value, sizes, x: np.take(x, value.attr("index").evaluate(sizes), axis=value.attr("axis")),
    "flip": lambda value, sizes, x: np.flip(x, value.attr("axis")),
    "concat": lambda value, sizes, *args: np.concatenate(args, axis=value.attr("axis")),
    "gather": lambda value, sizes, table, index: _along(table, value.attr("axis"), index),
    "softmax": _softmax,
    "reduce_sum": _over_axes(np.sum),
    "reduce_prod": _over_axes(np.prod),
    "reduce_max": _over_axes(np.max),
    "reduce_min": _over_axes(np.min),
    "reduce_any": _over_axes(np.any),
    "reduce_all": _over_axes(np.all),
    "logsumexp": _over_axes(_logsumexp),
}
