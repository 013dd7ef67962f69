"""Operations of the graph under their own names, for text that was made from a graph (`lsrl.unparse`).

Programs that people write seldom need them: they come from heads, which repeat and gather per head, and from `grad`.
"""

from __future__ import annotations

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import sizes
from lsrl.elaborate.arguments import Arguments, Builtin
from lsrl.elaborate.report import Misplaced
from lsrl.elaborate.terms import Term
from lsrl.ir import build, ops
from lsrl.ir.dims import shape_text
from lsrl.ir.fault import AXIS_RANGE, SHAPES_DIFFER, Fault
from lsrl.ir.value import Attr


def _expand(a: Arguments) -> Term:
    """`expand(x, [N, H], axis=0)`: repeated along new axes, the leading ones where nothing is said."""
    x, shape = a.value("x"), a.shape("shape")
    axes = _numbers(a, "axis") if a.has("axis") else tuple(range(len(shape) - x.rank))
    if len(set(axes)) != len(axes) or not all(0 <= axis < len(shape) for axis in axes):
        raise Fault(AXIS_RANGE, f"{list(axes)} are no new axes of {shape_text(shape)}")
    return build.expand(x, shape, axes)


def _gather(a: Arguments) -> Term:
    """`gather(table, index, axis=1, batch=1)`: as `table[index]`, after `batch` leading axes that both share."""
    table, index = a.values("table", "index")
    return build.gather(table, index, a.axis("axis", table, 0), a.number("batch", 0))


def _scatter(a: Arguments) -> Term:
    """`scatter(update, index, size)`: zeros with the updates added at their index, the adjoint of `gather`."""
    update, index = a.values("update", "index")
    axis, batch = a.axis("axis", update, 0), a.number("batch", 0)
    if not 0 <= batch <= axis:
        raise Fault(AXIS_RANGE, f"the axis {axis} is one of the {batch} shared axes")
    return ops.apply("scatter", update, index, axis=axis, batch=batch, size=a.dim("size"))


def _adjoint(name: str, operands: tuple[str, str]) -> Builtin:
    """The adjoints of `conv`, with the shape of what they are the gradient of."""

    def adjoint(a: Arguments) -> Term:
        shape = a.shape("shape")
        spatial = len(shape) - (1 if name == "conv_dx" else 2)
        attrs: dict[str, Attr] = {key: _per_axis(a, key, spatial) for key in ("stride", "dilation")}
        padding = _numbers(a, "padding")
        if len(padding) != 2 * spatial:
            raise Fault(SHAPES_DIFFER, "`padding` has a number before and after each axis", str(list(padding)))
        return ops.apply(
            name, *a.values(*operands), shape=shape, padding=padding, groups=a.number("groups", 1), **attrs
        )

    return Builtin(name, (*operands, "shape", "padding", "stride=", "dilation=", "groups="), adjoint)


def _per_axis(a: Arguments, name: str, axes: int) -> tuple[int, ...]:
    return (a.number(name, 1),) * axes


def _numbers(a: Arguments, name: str) -> tuple[int, ...]:
    """A whole number, or a list of them."""
    expr = a.given[name]
    items = expr.items if isinstance(expr, syntax.Array) else (expr,)
    found = [sizes.dim(a.env, item).constant for item in items]
    numbers = tuple(number for number in found if number is not None)
    if len(numbers) < len(found):
        raise Misplaced(code.NOT_A_SIZE, f"`{name}` is made of numbers", span=expr.span)
    return numbers


GRAPH_FUNCTIONS = (
    Builtin("expand", ("x", "shape", "axis="), _expand),
    Builtin("gather", ("table", "index", "axis=", "batch="), _gather),
    Builtin("scatter", ("update", "index", "size", "axis=", "batch="), _scatter),
    _adjoint("conv_dx", ("g", "w")),
    _adjoint("conv_dw", ("x", "g")),
)
