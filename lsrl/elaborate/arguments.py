"""The arguments of a call of one of the language's own functions, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import places, sizes
from lsrl.elaborate.env import Env
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import nearest
from lsrl.elaborate.terms import Term
from lsrl.ir.dims import Dim, Shape, shape_text
from lsrl.ir.fault import ARGUMENT_COUNT, AXIS_RANGE, RANK_MISMATCH, Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language itself.

    `parameters` are its names in order; `name=` may be left out, `*name` takes any number of positional arguments.
    """

    name: str
    parameters: tuple[str, ...]
    build: Callable[[Arguments], Term]

    @property
    def signature(self) -> str:
        shown = (p[:-1] + "=…" if p.endswith("=") else p for p in self.parameters)
        return f"{self.name}({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call gives: an expression by parameter, and those of a `*` parameter."""

    env: Env
    span: Span
    given: dict[str, syntax.Expr]
    rest: tuple[syntax.Expr, ...] = ()

    def has(self, name: str) -> bool:
        return name in self.given

    def value(self, name: str) -> Value:
        return self.env.value(self.given[name])

    def values(self, *names: str) -> tuple[Value, ...]:
        """Several operands, where they can be combined."""
        return self._together([self.given[name] for name in names])

    def others(self) -> tuple[Value, ...]:
        """The operands of the `*` parameter."""
        return self._together(self.rest)

    def _together(self, exprs: Sequence[syntax.Expr]) -> tuple[Value, ...]:
        terms = [_tried(self.env, expr) for expr in exprs]
        values = [term for term in terms if term is not None]
        if len(values) < len(terms):
            raise Poisoned
        return places.meet(values, self.env.collecting)

    def dim(self, name: str) -> Dim:
        return sizes.dim(self.env, self.given[name])

    def number(self, name: str, default: int) -> int:
        """A whole number that is known when the program is read."""
        if name not in self.given:
            return default
        dim = self.dim(name)
        if dim.constant is None:
            raise Misplaced(code.NOT_A_SIZE, f"`{name}` must be a number", str(dim), span=self.given[name].span)
        return dim.constant

    def shape(self, name: str) -> Shape:
        """A shape written as a list."""
        expr = self.given[name]
        if not isinstance(expr, syntax.Array):
            raise Misplaced(code.WRONG_USE, "a shape in brackets is needed", remedy="write `[H, D]`", span=expr.span)
        return sizes.shape(self.env, expr.items)

    def axes(self, name: str, value: Value) -> tuple[int, ...] | None:
        """Axes by position, by the size that only one axis has, or a list of these; None when not given."""
        if name not in self.given:
            return None
        expr = self.given[name]
        chosen = expr.items if isinstance(expr, syntax.Array) else (expr,)
        return tuple(self._axis(item, value) for item in chosen)

    def axis(self, name: str, value: Value, default: int) -> int:
        """One axis, as a position that is not negative."""
        if name not in self.given:
            if not value.rank:
                raise Fault(RANK_MISMATCH, "a scalar has no axis", shape_text(value.shape))
            return default % value.rank
        return self._axis(self.given[name], value)

    def _axis(self, expr: syntax.Expr, value: Value) -> int:
        dim = sizes.dim(self.env, expr)
        shown = shape_text(value.shape)
        if dim.constant is not None and not -value.rank <= dim.constant < value.rank:
            raise Misplaced(AXIS_RANGE, f"there is no axis {dim} in {shown}", span=expr.span)
        if dim.constant is not None:
            return dim.constant % value.rank
        having = [axis for axis, size in enumerate(value.shape) if size == dim]
        if len(having) == 1:
            return having[0]
        message = f"{len(having) or 'no'} axes of {shown} have the size {dim}"
        raise Misplaced(
            AXIS_RANGE, message, remedy="say the axis by its position: 0, 1, ... or -1 for the last", span=expr.span
        )


def bound(env: Env, builtin: Builtin, call: syntax.Call) -> Arguments:
    """The arguments of a call by parameter; a fault when one is missing, unknown or too many."""
    names = [p.strip("=") for p in builtin.parameters if not p.startswith("*")]
    if len(names) < len(builtin.parameters):
        named = replace(call, args=())
        given, rest = matched(builtin.name, names, named, builtin.signature), call.args
    else:
        given, rest = matched(builtin.name, names, call, builtin.signature), ()
    missing = [p for p in builtin.parameters if not p.endswith("=") and p not in given and not (p[0] == "*" and rest)]
    if missing:
        message = f"`{builtin.name}` needs {', '.join(p.strip('*') for p in missing)}"
        raise Misplaced(ARGUMENT_COUNT, message, None, builtin.signature, span=call.span)
    return Arguments(env, call.span, given, rest)


def matched(
    callee: str, names: Sequence[str], call: syntax.Call, signature: str, what: str = "arguments"
) -> dict[str, syntax.Expr]:
    """The expression of each parameter that a call gives, by position or by name; `what` is what they are called."""
    if len(call.args) > len(names):
        found, span = f"{len(call.args)} {what}", call.args[len(names)].span
        raise Misplaced(ARGUMENT_COUNT, f"too many {what} for `{callee}`", found, signature, span=span)
    given = dict(zip(names, call.args, strict=False))
    for keyword in call.keywords:
        if keyword.name not in names:
            guess = nearest(keyword.name, names)
            listed = ", ".join(f"`{name}`" for name in names) or "none"
            remedy = f"did you mean `{guess}`?" if guess else f"it has {listed}"
            message = f"`{callee}` has no `{keyword.name}` among its {what}"
            raise Misplaced(ARGUMENT_COUNT, message, remedy=remedy, span=keyword.span)
        if keyword.name in given:
            raise Misplaced(ARGUMENT_COUNT, f"`{keyword.name}` is given twice", span=keyword.span)
        given[keyword.name] = keyword.value
    return given


def _tried(env: Env, expr: syntax.Expr) -> Value | None:
    """The value of an operand, or None after a report, so that the mistakes of all operands are found."""
    try:
        return env.value(expr)
    except Poisoned:
        return None
    except Fault as fault:
        env.refuse(fault, expr.span)
        return None


def evaluate_all(env: Env, call: syntax.Call) -> None:
    """Find the mistakes in the arguments of a call that cannot be built itself."""
    for arg in (*call.args, *(keyword.value for keyword in call.keywords)):
        env.term(arg)
