"""Reverse mode as a transformation of the graph: the cotangents of a step are values of the same graph.

The cotangent of a value z, with respect to a real loss L, has z's shape and kind.  For complex z = x + iy it is
dL/dx + i dL/dy, PyTorch's convention (the conjugate of JAX's), so that a step against it goes downhill.  Where a
function has a kink the subgradients are PyTorch's too: ties of `max` and `min` share evenly, abs, relu and sign give 0.

Cotangents are linear in the seeds, whatever the values are; nothing is tested for being zero.  Hence, as everywhere
in automatic differentiation, a branch that `where` does not take must still have a finite derivative: mask the
operand, `where(x > 0, log(where(x > 0, x, 1)), 0)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from lsrl.ir import adjoint_axes, adjoint_elementwise, build, fault
from lsrl.ir.adjoint_elementwise import Rule
from lsrl.ir.dims import shape_text
from lsrl.ir.fault import Fault
from lsrl.ir.ops import const
from lsrl.ir.value import Kind, Value, depends_on, postorder

RULES: Mapping[str, Rule] = {**adjoint_elementwise.RULES, **adjoint_axes.RULES}

FLAT = frozenset(
    (
        *("stopgrad", "sign", "floor", "ceil", "round", "floordiv"),
        *("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "not"),
        *("argmax", "argmin", "reduce_any", "reduce_all"),
    )
)
"""Operations whose derivative is zero wherever there is one."""

_DIFFERENTIABLE = (Kind.FLOAT, Kind.COMPLEX)


def gradient(output: Value, wrt: Sequence[Value], seed: Value | None = None) -> tuple[Value, ...]:
    """The derivative of a real scalar with respect to each value of `wrt`, of that value's shape and kind.

    With a `seed` of the output's shape and kind the output may be anything: it is the cotangent of the output.

    Raises:
        Fault: the output is no real scalar and has no seed, or something here has no derivative (ints, bools).
    """
    if seed is None:
        if output.rank or output.kind is not Kind.FLOAT:
            found = f"{output.kind}{shape_text(output.shape)}"
            raise Fault(fault.NOT_DIFFERENTIABLE, "only a real scalar has a gradient", found, "float[]", "sum it first")
        seed = const(Fraction(1))
    return cotangents([output], [seed], wrt)


def cotangents(
    roots: Sequence[Value], seeds: Sequence[Value], wrt: Sequence[Value], *, independent: bool = False
) -> tuple[Value, ...]:
    """What reaches each value of `wrt` when every root has the cotangent `seeds` gives it.

    A value of `wrt` that others of `wrt` depend on receives what comes through them as well, unless they are taken
    as `independent`.  What no root depends on receives zeros.

    Raises:
        Fault: a seed does not fit its root, or a value of `wrt` is an int or a bool.
    """
    for value in wrt:
        if value.kind not in _DIFFERENTIABLE:
            raise Fault(fault.NOT_DIFFERENTIABLE, f"there is no derivative by {value.kind}s", str(value.kind), "float")
    targets = frozenset(wrt)
    active = depends_on(roots, lambda value: value in targets)
    found: dict[Value, Value] = {}
    for root, seed in zip(roots, seeds, strict=True):
        if seed.shape != root.shape:
            raise Fault(fault.SHAPES_DIFFER, "the seed", shape_text(seed.shape), shape_text(root.shape))
        _add(found, root, seed)
    for value in reversed(tuple(v for v in postorder(roots) if v in active)):
        cotangent = found.get(value)
        if cotangent is None or not value.args or value.op in FLAT or (independent and value in targets):
            continue
        for arg, part in zip(value.args, RULES[value.op](value, cotangent), strict=True):
            if part is not None and arg in active:
                _add(found, arg, part)
    return tuple(found[v] if v in found else build.zeros(v.shape, v.kind) for v in wrt)


def _add(found: dict[Value, Value], value: Value, part: Value) -> None:
    """Add a part to the cotangent of a value; zeros are never written out, and ints and bools have none."""
    if value.kind in _DIFFERENTIABLE:
        fitted = _fitted(part, value)
        found[value] = build.add(found[value], fitted) if value in found else fitted


def _fitted(cotangent: Value, value: Value) -> Value:
    """The cotangent with the shape and kind of its value: a scalar operand met many elements, a real one complex."""
    if cotangent.rank > value.rank:
        cotangent = build.reduce("reduce_sum", cotangent)
    if value.kind is Kind.FLOAT and cotangent.kind is Kind.COMPLEX:
        return build.unary("re", cotangent)
    return build.cast(cotangent, value.kind)
