"""Sums over all positions of values of a step, as few large products.

The gradient of a parameter is a sum over sequences and positions of what each contributes, often an outer product.  A
sum passes through whatever is linear, so that only the factors of a product need to be there for every position, and
their sum is one product over all of them (`dW = sum_t g_t x_t^T` is one product of matrices).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.ir import ops
from lsrl.ir.pipeline import VARYING
from lsrl.ir.substitute import with_args
from lsrl.ir.value import Kind, Value, depends_on, postorder

_LINEAR = frozenset(
    (
        *("add", "sub", "neg", "conj", "re", "im", "reduce_sum"),
        *("transpose", "reshape", "expand", "slice", "select", "flip", "concat"),
    )
)
_SMOOTH = (Kind.FLOAT, Kind.COMPLEX)


@dataclass(frozen=True, slots=True)
class PositionSums:
    """Sums over sequences and positions.

    Attributes:
        parts: for each leaf that stands for a sum, the value that is summed: a product is summed with its factors,
            so it need not exist for any position.  See `factors`.
        totals: by name, the wanted sums as values of the leaves, params and constants.
    """

    parts: Mapping[Value, Value]
    totals: Mapping[str, Value]

    @property
    def operands(self) -> tuple[Value, ...]:
        """What has to be known for every position."""
        return tuple(dict.fromkeys(arg for part in self.parts.values() for arg in factors(part)))


def factors(part: Value) -> tuple[Value, ...]:
    """What a summed value is summed from: the factors of a product of what varies, else itself."""
    if part.op == "einsum" or (part.op == "conv_dw" and all(_varies(arg) for arg in part.args)):
        return part.args
    return (part,)


def position_sums(wanted: Mapping[str, Value]) -> PositionSums:
    """The sums of these values of a step over all sequences and positions."""
    found = _sums(wanted, frozenset())
    products = [factors(part) for part in found.parts.values()]
    there = frozenset(arg for args in products if len(args) > 1 for arg in args)
    return _sums(wanted, there)


def _sums(wanted: Mapping[str, Value], there: frozenset[Value]) -> PositionSums:
    """`there`: values that are known for every position in any case, so that they are summed as they are."""
    roots = tuple(wanted.values())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    order = tuple(postorder(roots))
    inner: dict[Value, tuple[Value, ...]] = {}
    rewarding: set[Value] = set()
    for value in order:
        inner[value] = () if value in there else _through(value, varying)
        if not rewarding.isdisjoint(inner[value]) or _shrinks(value):
            rewarding.add(value)
        else:
            inner[value] = ()
    needed = set(roots)
    for value in reversed(order):
        if value in needed:
            needed.update(inner[value])
    parts: dict[Value, Value] = {}
    done: dict[Value, Value] = {}
    for value in (v for v in order if v in needed and not _is_zero(v)):
        if inner[value]:
            done[value] = with_args(value, [done.get(arg, arg) for arg in value.args])
        else:
            done[value] = ops.leaf("param", f"sum.{len(parts)}", value.shape, value.kind)
            parts[done[value]] = value
    return PositionSums(parts, {name: done.get(value, value) for name, value in wanted.items()})


def _shrinks(value: Value) -> bool:
    """Whether a sum is best taken before the value is made."""
    return value.op == "expand" or len(factors(value)) > 1


def _through(value: Value, varying: frozenset[Value]) -> tuple[Value, ...]:
    """The operands whose sums make the sum of the value; none where it is to be summed itself."""
    moving = tuple(dict.fromkeys(arg for arg in value.args if arg in varying))
    fixed = [arg for arg in value.args if arg not in varying]
    if value.kind not in _SMOOTH or any(arg.kind not in _SMOOTH for arg in moving):
        return ()
    if value.op in _LINEAR and all(_is_zero(arg) for arg in fixed):
        return moving
    scaled = len(fixed) == 1 and (value.op == "mul" or (value.op == "div" and value.args[0] in varying))
    return moving if scaled else ()


def _varies(value: Value) -> bool:
    return value in depends_on([value], lambda leaf: leaf.op in VARYING)


def _is_zero(value: Value) -> bool:
    """Whether the value is zeros, as cotangents write them."""
    while value.op == "expand":
        (value,) = value.args
    return value.op == "const" and bool(value.attr("value") == 0)
