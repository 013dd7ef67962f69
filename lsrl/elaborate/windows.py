"""`window(x, K)`: the last values of something, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import lags
from lsrl.elaborate.arguments import Arguments, Builtin
from lsrl.elaborate.body import Lag
from lsrl.elaborate.env import Env, value_of
from lsrl.elaborate.report import Misplaced
from lsrl.elaborate.scope import Slot
from lsrl.elaborate.terms import Term
from lsrl.ir import build
from lsrl.ir.cell import GRAPH
from lsrl.ir.fault import Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Value

UNNAMED = "window"
SPARSE = 4


def _window(a: Arguments) -> Term:
    """`window(x, K, dilation=d)`: x at t - (K-1) d, ..., t - d, t; its axis is K, whatever number it is built for."""
    found, size = _last_values(a), a.dim("size")
    return found if size.constant is not None else build.slice_(found, 0, size)


def _last_values(a: Arguments) -> Value:
    term = a.env.term(a.given["x"])
    size, dilation = _number(a, "size", "the window"), _number(a, "dilation", "the dilation")
    axis, x = _axis(a), value_of(term, a.given["x"].span)
    reach = lags.within_reach((size - 1) * dilation)
    if reach == 0:
        return build.stack([x])
    past = _Past.of(a.env, a.given["x"], x, axis, a.span)
    # Between the values of a dilated window lie others, and each would have a register of its own.
    if reach <= (lags.NEAR if dilation == 1 else SPARSE):
        return build.stack([*(past.back(steps) for steps in range(reach, 0, -dilation)), x])
    return build.concat([build.slice_(past.line(reach), 0, None, step=dilation), build.stack([x])])


@dataclass(frozen=True, slots=True)
class _Past:
    """Earlier values of what an expression stands for; those of a state begin with its initial value."""

    env: Env
    value: Value
    name: str
    axis: str
    span: Span
    slot: Slot | None = None
    pad: Value | None = None

    @staticmethod
    def of(env: Env, expr: syntax.Expr, value: Value, axis: str, span: Span) -> _Past:
        binding = env.scope.find(expr.id) if isinstance(expr, syntax.Name | syntax.Prime) else None
        slot = binding.slot if binding is not None else None
        match expr:
            case syntax.Name(name) | syntax.Prime(name) | syntax.Attribute(_, name):
                return _Past(env, value, name, axis, span, slot, lags.pad_of(env, value, binding))
        return _Past(env, value, UNNAMED, axis, span, pad=lags.pad_of(env, value, None))

    def back(self, steps: int) -> Value:
        if self.slot is None:
            return lags.back(self.env, self._lag(), steps)
        arrived = self.value is self.slot.arriving.get(self.axis)
        return lags.of_state(self.env, self.slot, self.axis, steps + arrived, True, self.span)

    def line(self, length: int) -> Value:
        return lags.line(self.env, self._lag(), length)

    def _lag(self) -> Lag:
        if self.slot is not None:
            return lags.lag_of_state(self.env, self.slot, self.value, self.axis, self.span)
        return lags.lag_of(self.env, self.value, self.name, self.axis, self.pad, self.span)


def _number(a: Arguments, name: str, what: str) -> int:
    if name not in a.given:
        return 1
    number = a.env.body.pin(a.dim(name), what, a.span)
    if number < 1:
        raise Misplaced(code.WRONG_LAG, f"{what} is at least 1", str(number), span=a.given[name].span)
    return number


def _axis(a: Arguments) -> str:
    axes = a.env.body.axes
    match a.given.get("axis"):
        case None if len(axes) == 1 and axes[0] != GRAPH:
            return axes[0]
        case None if axes[0] == GRAPH:
            raise Fault(code.WRONG_LAG, "a graph has no position before")
        case None:
            raise Fault(code.AXIS_NEEDED, "along which axis does the window lie?", remedy=f"write `axis={axes[0]}`")
        case syntax.Name(axis) if axis in axes and axis != GRAPH:
            return axis
        case other:
            own = ", ".join(axes)
            raise Misplaced(
                code.UNKNOWN_AXIS,
                "`axis` is one of the cell: t, or what stands behind `over`",
                expected=own,
                span=other.span,
            )


WINDOWS = (Builtin("window", ("x", "size", "dilation=", "axis="), _window),)
