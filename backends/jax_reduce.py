"""Reductions, whose axes are counted from the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call, method
from lsrl.backends.jax_place import Operand, Place, Printer, promoted
from lsrl.ir.dims import count
from lsrl.ir.infer import integer, integers
from lsrl.ir.value import Kind, Value


def _reduction(name: str, dtype: bool = False) -> Printer:
    """`dtype`: the result's type is given, since jax.numpy would choose a default one for bools and ints."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = operands if dtype else promoted(operands, _kind(value, operands[0]), place.types)
        axes = integers(value.attr("axes"))
        if not axes:
            return promoted([operand], value.kind, place.types)[0].code
        options = {"dtype": place.types.whole} if dtype and value.kind is Kind.INT else {}
        return call(name, operand.code, axis=_from_end(axes, operand.value.rank), **options)

    return printer


def _kind(value: Value, operand: Operand) -> Kind:
    """The kind to reduce in: that of the result, but truth values and places are found among what is there."""
    return operand.kind if value.kind in (Kind.BOOL, Kind.INT) else value.kind


def _from_end(axes: Sequence[int], rank: int) -> object:
    return axes[0] - rank if len(axes) == 1 else tuple(axis - rank for axis in axes)


def _place_of(name: str) -> Printer:
    """argmax, argmin: several axes count as one, in their order."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = operands
        axes = integers(value.attr("axes"))
        if not axes:
            return call("jnp.zeros_like", operand.code, place.types.whole)
        code, axis = operand.code, axes[0] - operand.value.rank
        if len(axes) > 1:
            code, axis = _folded(operand, axes, place), -1
        return method(call(name, code, axis=axis), "astype", place.types.whole)

    return printer


def _folded(operand: Operand, axes: Sequence[int], place: Place) -> Code:
    """The operand with `axes` moved to the end and made one."""
    rank = operand.value.rank
    kept = [axis for axis in range(rank) if axis not in axes]
    code = operand.code
    if [*kept, *axes] != list(range(rank)):
        code = call("jnp.moveaxis", code, tuple(a - rank for a in axes), tuple(range(-len(axes), 0)))
    shape = (*(operand.value.shape[axis] for axis in kept), count(operand.value.shape[axis] for axis in axes))
    return method(code, "reshape", place.shape(shape, operand.varies))


def _softmax(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = promoted(operands, Kind.FLOAT, place.types)
    return call("jax.nn.softmax", operand.code, axis=integer(value.attr("axis")) - value.rank)


PRINTERS: Mapping[str, Printer] = {
    "reduce_sum": _reduction("jnp.sum", dtype=True),
    "reduce_prod": _reduction("jnp.prod", dtype=True),
    "reduce_max": _reduction("jnp.max"),
    "reduce_min": _reduction("jnp.min"),
    "reduce_any": _reduction("jnp.any"),
    "reduce_all": _reduction("jnp.all"),
    "logsumexp": _reduction("jax.nn.logsumexp"),
    "argmax": _place_of("jnp.argmax"),
    "argmin": _place_of("jnp.argmin"),
    "softmax": _softmax,
}
