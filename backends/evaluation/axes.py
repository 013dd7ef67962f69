"""Contractions, layout and reductions in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from string import ascii_uppercase

import numpy as np

from lsrl.backends.arrays import Array, Index
from lsrl.backends.evaluation.scope import Kernel, Scope, common_places, places, spread
from lsrl.ir.infer import dim, dims, integer, integers, promote
from lsrl.ir.value import Kind, Value

LARGE = 1 << 14
"""Operands of more elements than this are worth the search for a fast order of contraction."""


def contract(spec: str, *arrays: Array) -> Array:
    """Sum of products as in `np.einsum`, over trailing axes; places are leading axes that the spec does not name."""
    left, result = spec.split("->")
    letters = left.split(",")
    leading = [ascii_uppercase[: array.ndim - len(own)] for own, array in zip(letters, arrays)]
    named = ",".join(places + own for places, own in zip(leading, letters))
    fast = len(arrays) > 2 or max(array.size for array in arrays) > LARGE
    return np.asarray(np.einsum(f"{named}->{max(leading, key=len)}{result}", *arrays, optimize=fast))


def _einsum(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    return contract(str(value.attr("spec")), *(array.astype(scope.dtype(value.kind), copy=False) for array in args))


def _solve(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    matrix, right = (array.astype(scope.dtype(value.kind), copy=False) for array in args)
    places = np.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    right = np.broadcast_to(right, (*places, *right.shape[-2:]))
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        matrix = np.broadcast_to(matrix, (*places, *matrix.shape[-2:]))
        found = [
            _one_solution(a, b)
            for a, b in zip(matrix.reshape(-1, *matrix.shape[-2:]), right.reshape(-1, *right.shape[-2:]))
        ]
        return np.stack(found).reshape(right.shape)


def _one_solution(matrix: Array, right: Array) -> Array:
    """nan where there is none."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)


def _transpose(value: Value, args: Sequence[Array], _: Scope) -> Array:
    first = args[0].ndim - value.rank
    return args[0].transpose(*range(first), *(first + axis for axis in integers(value.attr("perm"))))


def _reshape(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    return args[0].reshape(*places(value.args[0], args[0]), *scope.shape(value.shape))


def _expand(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    wide = np.expand_dims(args[0], tuple(axis - value.rank for axis in integers(value.attr("axes"))))
    return np.broadcast_to(wide, (*places(value.args[0], args[0]), *scope.shape(dims(value.attr("shape")))))


def _slice(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    start, size = scope.shape((dim(value.attr("start")), dim(value.attr("size"))))
    taken = slice(start, start + size * integer(value.attr("step")), integer(value.attr("step")))
    after = value.rank - 1 - integer(value.attr("axis"))
    index: Index = (..., taken, *[slice(None)] * after)
    return args[0][index]


def _select(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    axis = integer(value.attr("axis")) - value.args[0].rank
    return np.asarray(np.take(args[0], scope.shape((dim(value.attr("index")),))[0], axis))


def _flip(value: Value, args: Sequence[Array], _: Scope) -> Array:
    return np.flip(args[0], integer(value.attr("axis")) - value.rank)


def _concat(value: Value, args: Sequence[Array], _: Scope) -> Array:
    at = common_places(value, args)
    parts = [spread(arg, array, at) for arg, array in zip(value.args, args)]
    return np.concatenate(parts, integer(value.attr("axis")) - value.rank)


def _gather(value: Value, args: Sequence[Array], _: Scope) -> Array:
    """An index outside the table is clamped."""
    (table, index), (entries, rows) = value.args, args
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    if batch == 0 and entries.ndim == table.rank:
        found = np.take(entries, _clamped(rows, entries.shape[axis]), axis)
        added = range(rows.ndim - index.rank)
        return np.moveaxis(found, [axis + place for place in added], added)
    at = common_places(value, args)
    entries, rows = spread(table, entries, at), spread(index, rows, at)
    shared = rows.shape[: len(at) + batch]
    first, before, found_axes = len(shared), axis - batch, index.rank - batch
    entries = np.moveaxis(entries, len(at) + axis, first)
    rest = entries.shape[first + 1 :]
    tables = entries.reshape(prod(shared), entries.shape[first], *rest)
    picks = _clamped(rows, entries.shape[first]).reshape(prod(shared), prod(rows.shape[first:]))
    found = tables[np.arange(len(tables))[:, None], picks].reshape(*rows.shape, *rest)
    return np.moveaxis(found, range(first, first + found_axes), range(first + before, first + before + found_axes))


def _scatter(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """Updates whose index is the same add up."""
    update, index = value.args
    axis, batch, size = integer(value.attr("axis")), integer(value.attr("batch")), scope.shape(value.shape)
    at = common_places(value, args)
    updates, rows = spread(update, args[0], at), spread(index, args[1], at)
    shared = rows.shape[: len(at) + batch]
    first, before, index_axes = len(shared), axis - batch, index.rank - batch
    updates = np.moveaxis(updates, range(first + before, first + before + index_axes), range(first, first + index_axes))
    rest = updates.shape[first + index_axes :]
    picks = _clamped(rows, size[axis]).reshape(prod(shared), prod(rows.shape[first:]))
    tables = np.zeros((len(picks), size[axis], *rest), updates.dtype)
    np.add.at(tables, (np.arange(len(picks))[:, None], picks), updates.reshape(*picks.shape, *rest))
    return np.moveaxis(tables.reshape(*shared, size[axis], *rest), first, first + before)


def _clamped(rows: Array, size: int) -> Array:
    return np.clip(rows, 0, size - 1)


def _reduction(function: Callable[..., Array]) -> Kernel:
    """A kernel that reduces the axes `axes` by `function(array, axes)`."""

    def kernel(value: Value, args: Sequence[Array], scope: Scope) -> Array:
        kind = promote([value.args[0].kind, value.kind, Kind.INT])
        axes = tuple(axis - value.args[0].rank for axis in integers(value.attr("axes")))
        return np.asarray(function(args[0].astype(scope.dtype(kind), copy=False), axes))

    return kernel


def _largest(x: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.max(x, axes, initial=lowest(x.dtype)))


def _smallest(x: Array, axes: tuple[int, ...]) -> Array:
    return -_largest(-x, axes)


def lowest(dtype: np.dtype[np.generic]) -> float | int:
    """What the maximum of nothing is."""
    return -np.inf if dtype.kind in "fO" else int(np.iinfo(np.int64).min)


def _logsumexp(x: Array, axes: tuple[int, ...]) -> Array:
    """The largest element is taken out, so that nothing overflows; of -inf alone it is -inf."""
    top = np.max(x, axes, initial=-np.inf, keepdims=True)
    level = np.where(np.isfinite(top), top, 0)
    return np.asarray(np.log(np.sum(np.exp(x - level), axes)) + np.squeeze(level, axes))


def _argmax(x: Array, axes: tuple[int, ...]) -> Array:
    """The place in row-major order of the reduced axes."""
    last = np.moveaxis(x, axes, range(-len(axes), 0))
    return np.asarray(
        np.argmax(last.reshape(*last.shape[: last.ndim - len(axes)], prod(last.shape[last.ndim - len(axes) :])), -1)
    )


def _softmax(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    axis = integer(value.attr("axis")) - value.rank
    x = args[0].astype(scope.dtype(value.kind), copy=False)
    weights = np.exp(x - np.max(x, axis, initial=-np.inf, keepdims=True))
    return np.asarray(weights / np.sum(weights, axis, keepdims=True))


KERNELS: Mapping[str, Kernel] = {
    "einsum": _einsum,
    "solve": _solve,
    "transpose": _transpose,
    "reshape": _reshape,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "flip": _flip,
    "concat": _concat,
    "gather": _gather,
    "scatter": _scatter,
    "reduce_sum": _reduction(np.sum),
    "reduce_prod": _reduction(np.prod),
    "reduce_max": _reduction(_largest),
    "reduce_min": _reduction(_smallest),
    "reduce_any": _reduction(np.any),
    "reduce_all": _reduction(np.all),
    "logsumexp": _reduction(_logsumexp),
    "argmax": _reduction(_argmax),
    "argmin": _reduction(lambda x, axes: _argmax(-x, axes)),
    "softmax": _softmax,
}
