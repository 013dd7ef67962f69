"""Operations that move, repeat or pick elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from lsrl.backends.expressions import Code, attribute, call, method, number, subscript
from lsrl.backends.jax_place import Operand, Place, Printer, promoted
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, dims, integer, integers
from lsrl.ir.value import Attr, Value


def _transpose(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    perm = integers(value.attr("perm"))
    if perm == tuple(range(len(perm))):
        return operand.code
    if perm == (1, 0):
        return attribute(operand.code, "mT" if operand.varies else "T")
    lead = len(place.lead) if operand.varies else 0
    return call("jnp.transpose", operand.code, (*range(lead), *(p + lead for p in perm)))


def _reshape(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    return method(operand.code, "reshape", place.shape(dims(value.attr("shape")), operand.varies))


def _expand(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    shape, new = dims(value.attr("shape")), integers(value.attr("axes"))
    full = place.shape(shape, operand.varies)
    if operand.host:
        return filled(full, operand, place.types.of(value.kind))
    return call("jnp.broadcast_to", lined_up(operand, [axis not in new for axis in range(len(shape))]), full)


def thinly(value: Value, operand: Operand) -> Code:
    """An expanded array with axes of length one where it is repeated."""
    new = integers(value.attr("axes"))
    return operand.code if operand.host else lined_up(operand, [axis not in new for axis in range(value.rank)])


def lined_up(operand: Operand, kept: Sequence[bool]) -> Code:
    """`k[..., None]`: the operand with an axis of length one for each axis of the result that it does not keep."""
    leading = list(kept) == sorted(kept)  # axes in front need not be written, where there are no others before
    if all(kept) or (leading and not operand.varies):
        return operand.code
    first = list(kept).index(False)
    return subscript(operand.code, ", ".join(["...", *(":" if keep else "None" for keep in kept[first:])]))


def filled(shape: str, operand: Operand, type_: str) -> Code:
    """An array of one number."""
    match operand.code.text:
        case "0" | "0.0" | "False" | "complex(0)":
            return call("jnp.zeros", shape, type_)
        case "1" | "1.0" | "True":
            return call("jnp.ones", shape, type_)
    return call("jnp.full", shape, operand.code, type_)


def _slice(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    axis, step = integer(value.attr("axis")), integer(value.attr("step"))
    start, size = dim(value.attr("start")), dim(value.attr("size"))
    stop = start + (size - 1) * step + 1
    first = "" if start == Dim.of(0) else str(place.dim(start))
    last = "" if stop == operand.value.shape[axis] else str(place.dim(stop))
    ends = [first, last, str(step)] if step != 1 else [first, last]
    return _indexed(operand, axis, (" : " if " " in first + last else ":").join(ends).strip(" "))


def _select(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    return _indexed(operand, integer(value.attr("axis")), str(place.dim(dim(value.attr("index")))))


def _indexed(operand: Operand, axis: int, index: str) -> Code:
    """An index on one axis: counted from the front where there are no leading axes, otherwise from the end."""
    if operand.varies:
        return subscript(operand.code, ", ".join(["...", index, *[":"] * (operand.value.rank - axis - 1)]))
    return subscript(operand.code, ", ".join([*[":"] * axis, index]))


def _flip(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = operands
    return call("jnp.flip", operand.code, axis=integer(value.attr("axis")) - operand.value.rank)


def _concat(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    varies = any(operand.varies for operand in operands)
    parts = [spread(o, place) if varies else o.code for o in promoted(operands, value.kind, place.types)]
    axis = integer(value.attr("axis"))
    whole = f"[{', '.join(map(str, parts))}]"
    if not varies and axis == 0:
        return call("jnp.concatenate", whole)
    return call("jnp.concatenate", whole, axis=axis - value.rank)


def spread(operand: Operand, place: Place) -> Code:
    """The operand with leading axes."""
    if operand.varies:
        return operand.code
    return call("jnp.broadcast_to", operand.code, place.shape(operand.value.shape, True))


def _gather(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    table, index = operands
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    if batch == 0 and not table.varies and (axis == 0 or not index.varies):
        return call("jnp.take", table.code, index.code, axis=axis, mode='"clip"')
    if batch == 0 and not index.varies:
        return call("jnp.take", table.code, index.code, axis=axis - table.value.rank, mode='"clip"')
    picked = vectorized(f"partial(take, axis={axis}, batch={batch})", value, operands)
    return call(picked, table.code, index.code)


def _scatter(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
    size = place.dim(dim(value.attr("size")))
    function = f"partial(scatter, size={size}, axis={axis}, batch={batch})"
    update, index = operands
    return call(vectorized(function, value, operands), update.code, index.code)


def vectorized(function: str, value: Value, operands: Sequence[Operand]) -> str:
    """A function of one position's arrays at all batch elements and positions; those that do not vary are shared."""
    if not any(operand.varies for operand in operands):
        return function
    letters = iter("acdefghijklmnopqrsuvwxyz")
    cores = ["".join(f"{next(letters)}," for _ in each.shape)[:-1] for each in (*(o.value for o in operands), value)]
    signature = f"{','.join(f'({core})' for core in cores[:-1])}->({cores[-1]})"
    return f'jnp.vectorize({function}, signature="{signature}")'


def iota(value: Value, place: Place) -> Code:
    """0, 1, ..., along the value's one axis."""
    return call("jnp.arange", place.dim(value.shape[0]), dtype=place.types.whole)


def literal(value: Value, place: Place) -> Code:
    """A constant array."""
    return call("jnp.array", _nested(value.attr("value")), place.types.of(value.kind))


def _nested(item: Attr) -> str:
    match item:
        case tuple():
            return f"[{', '.join(_nested(each) for each in item)}]"
        case "pi":
            return "math.pi"
        case bool() | int() | float() | complex() | Fraction():
            return str(number(item))
    raise TypeError(f"{item!r} is no constant")


PRINTERS: Mapping[str, Printer] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "flip": _flip,
    "concat": _concat,
    "gather": _gather,
    "scatter": _scatter,
}
