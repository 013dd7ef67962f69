"""Reductions in PyTorch, whose axes are counted from the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call, method
from lsrl.backends.torch_place import Operand, Place, Printer, promoted
from lsrl.ir.infer import integer, integers
from lsrl.ir.value import Kind, Value


def _reduction(name: str) -> Printer:
    """A function that takes one axis or several."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = promoted(operands, _kind(value, operands[0]), place.types)
        axes = integers(value.attr("axes"))
        if not axes:
            return operand.code
        return method(operand.code, name, _from_end(axes, operand.value.rank))

    return printer


def _product(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """`prod` takes one axis at a time; the last ones first, so that the others keep their places from the front."""
    (operand,) = promoted(operands, value.kind, place.types)
    code, rank = operand.code, operand.value.rank
    for gone, axis in enumerate(sorted(integers(value.attr("axes")), reverse=True)):
        code = method(code, "prod", axis - rank + gone)
    return code


def _kind(value: Value, operand: Operand) -> Kind:
    """The kind to reduce in: that of the result, or that of what is compared."""
    return max(value.kind, operand.kind, key=[*Kind].index)


def _from_end(axes: Sequence[int], rank: int) -> object:
    return axes[0] - rank if len(axes) == 1 else tuple(axis - rank for axis in axes)


def _place_of(name: str) -> Printer:
    """argmax, argmin: several axes count as one, in their order."""

    def printer(value: Value, operands: Sequence[Operand], place: Place) -> Code:
        (operand,) = promoted(operands, max(operands[0].kind, Kind.INT, key=[*Kind].index), place.types)
        axes, rank = integers(value.attr("axes")), operand.value.rank
        if not axes:
            return call("torch.zeros_like", operand.code, dtype=place.types.of(Kind.INT))
        if len(axes) == 1:
            return method(operand.code, name, axes[0] - rank)
        kept = [axis for axis in range(rank) if axis not in axes]
        code = operand.code
        if [*kept, *axes] != list(range(rank)):
            code = method(code, "movedim", tuple(a - rank for a in axes), tuple(range(-len(axes), 0)))
        return method(method(code, "flatten", -len(axes)), name, -1)

    return printer


def _softmax(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = promoted(operands, Kind.FLOAT, place.types)
    return method(operand.code, "softmax", integer(value.attr("axis")) - value.rank)


def _logsumexp(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    (operand,) = promoted(operands, Kind.FLOAT, place.types)
    axes = integers(value.attr("axes"))
    return method(operand.code, "logsumexp", _from_end(axes, operand.value.rank)) if axes else operand.code


PRINTERS: Mapping[str, Printer] = {
    "reduce_sum": _reduction("sum"),
    "reduce_prod": _product,
    "reduce_max": _reduction("amax"),
    "reduce_min": _reduction("amin"),
    "reduce_any": _reduction("any"),
    "reduce_all": _reduction("all"),
    "logsumexp": _logsumexp,
    "argmax": _place_of("argmax"),
    "argmin": _place_of("argmin"),
    "softmax": _softmax,
}
