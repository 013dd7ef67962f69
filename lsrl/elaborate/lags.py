"""`x[t-1]`: values from earlier positions, kept in hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import sizes
from lsrl.elaborate.body import Body, Lag
from lsrl.elaborate.env import Env
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Slot
from lsrl.elaborate.terms import POISON
from lsrl.ir import build, ops
from lsrl.ir.cell import GRAPH, State
from lsrl.ir.dims import Dim
from lsrl.ir.fault import Fault
from lsrl.ir.infer import Typing
from lsrl.ir.span import Span
from lsrl.ir.value import Kind, Value

LARGEST_LAG = 4096
COMMON_AXES = ("t", "x", "y", "z")
GUESS = Typing((), Kind.FLOAT)


@dataclass(frozen=True, slots=True)
class Offset:
    """`t - 2 + K`: an axis, and what is subtracted from it, with signs."""

    axis: str
    parts: tuple[tuple[str, syntax.Expr], ...] = ()


def offset(env: Env, items: Sequence[object]) -> Offset | None:
    """The offset that an index says, where it is an axis of the cell or a sum that begins with one; else None."""
    found = _offset(items[0]) if len(items) == 1 else None
    if found is None or (not found.parts and env.scope.find(found.axis) is not None):
        return None
    if found.axis in env.body.axes:
        return found
    if found.parts and found.axis in COMMON_AXES and env.scope.find(found.axis) is None:
        message = f"the cell runs along {', '.join(env.body.axes)}, not along {found.axis}"
        raise Fault(code.UNKNOWN_AXIS, message)
    return None


def _offset(item: object) -> Offset | None:
    match item:
        case syntax.Name(axis):
            return Offset(axis)
        case syntax.Binary(("-" | "+") as sign, left, right):
            before = _offset(left)
            return Offset(before.axis, (*before.parts, (sign, right))) if before is not None else None
    return None


def lagged(env: Env, base: syntax.Expr, back: Offset, span: Span) -> Value:
    """The value of `base` some positions back."""
    axis, steps = back.axis, _steps(env, back, span)
    binding = env.scope.find(base.id) if isinstance(base, (syntax.Name, syntax.Prime)) else None
    if binding is not None and binding.slot is not None:
        binding.used = True
        return _of_state(env, binding.slot, axis, steps, isinstance(base, syntax.Prime), span)
    if steps == 0:
        return env.value(base)
    match base:
        case syntax.Name(name) if binding is None and name in env.body.later and not env.uses:
            return _of_later(env, name, axis, steps, span)
        case syntax.Name(name) | syntax.Attribute(_, name):
            return _registers(env, env.value(base), name, axis, _pad(binding), steps, span)
    raise Misplaced(
        code.WRONG_LAG,
        "only what has a name can be read from earlier positions",
        span=base.span,
        remedy="give it a name first: `y = ...`, then `y[t-1]`",
    )


def _steps(env: Env, back: Offset, span: Span) -> int:
    """How many positions back: a number, or sizes whose numbers the graph is built for."""
    total = Dim.of(0)
    for sign, part in back.parts:
        size = sizes.maybe(env, part)
        if size is None:
            remedy = "only whole numbers and sizes can stand here"
            message = "how far back must be known when compiling"
            raise Misplaced(code.WRONG_LAG, message, remedy=remedy, span=part.span)
        total = total + (size if sign == "-" else -size)
    steps = env.body.pin(total, "the lag", span)
    if steps < 0:
        remedy = "run the cell backwards: `reverse cell(...)(x)`"
        raise Fault(code.WRONG_LAG, "later positions cannot be read", remedy=remedy)
    if steps > LARGEST_LAG:
        raise Fault(code.LAG_TOO_FAR, f"at most {LARGEST_LAG} positions back can be read", str(steps))
    return steps


def _of_state(env: Env, slot: Slot, axis: str, steps: int, primed: bool, span: Span) -> Value:
    """`h[t-1]` is what arrives, like `h'[t-1]`; `h[t-2]` arrived at the position before."""
    if not slot.arriving:
        raise Poisoned
    if axis not in slot.arriving:
        message = f"the state travels along {', '.join(slot.axes)}, not along {axis}"
        raise Fault(code.UNKNOWN_AXIS, message)
    arriving = slot.arriving[axis]
    if steps == 0 and not primed:
        raise Fault(code.AXIS_NEEDED, f"a state is read from the position before: `[{axis}-1]`")
    if steps == 0:
        return _next(slot)
    if steps == 1:
        return arriving
    local = slot.name.removeprefix(env.naming.prefix)
    lag = _lag(env, arriving, local, axis, slot.init, span, first=2)
    return _extended(env.body, lag, steps - 1, first=2)


def _next(slot: Slot) -> Value:
    if slot.next is None:
        raise Poisoned if slot.poisoned else Fault(code.NOT_YET_UPDATED, f"`{slot.name}'` is not defined yet")
    return slot.next


def _pad(binding: Binding | None) -> Value | None:
    return binding.pad if binding is not None else None


def _of_later(env: Env, name: str, axis: str, steps: int, span: Span) -> Value:
    """A name that is defined further down: its type is guessed, and the guess checked at the end of the cell."""
    typing = env.body.guesses.get(name, GUESS)
    key = ("later", env.naming.prefix + name, axis, env.resetting)
    if key not in env.body.lags:
        init = build.zeros(typing.shape, typing.kind)
        env.body.lags[key] = Lag(None, env.naming.prefix + name, axis, init, [], span, env.resetting)
    return _extended(env.body, env.body.lags[key], steps)


def _registers(env: Env, source: Value, name: str, axis: str, pad: Value | None, steps: int, span: Span) -> Value:
    if axis == GRAPH:
        raise Fault(code.WRONG_LAG, "a graph has no position before")
    init = build.zeros(source.shape, source.kind) if pad is None else build.full(source.shape, pad)
    return _extended(env.body, _lag(env, source, name, axis, init, span), steps)


def _lag(env: Env, source: Value, name: str, axis: str, init: Value, span: Span, first: int = 1) -> Lag:
    key = (source, axis, init, env.resetting)
    if key not in env.body.lags:
        free = env.body.copy_name(f"lag {env.naming.prefix}", f"{name}[{axis}-{first}]")
        suffix = free.removeprefix(f"{name}[{axis}-{first}]")
        env.body.lags[key] = Lag(source, env.naming.prefix + name + suffix, axis, init, [], span, env.resetting)
    return env.body.lags[key]


def _extended(body: Body, lag: Lag, steps: int, first: int = 1) -> Value:
    """The value `steps` registers back, with as many registers as that takes."""
    while len(lag.registers) < steps:
        name = f"{lag.name}[{lag.axis}-{len(lag.registers) + first}]"
        kept = lag.init
        register = ops.state(f"reset.{name}" if lag.exempt else name, lag.axis, kept.shape, kept.kind)
        body.names.setdefault(register, name)
        lag.registers.append(register)
    return lag.registers[steps - 1]


def states(body: Body) -> tuple[State, ...]:
    """The hidden states of all lags: shift registers."""
    return tuple(
        State(str(kept.attr("name")), kept.shape, kept.kind, (lag.axis,), lag.init, source, hidden=True)
        for lag in body.lags.values()
        if lag.source is not None
        for kept, source in zip(lag.registers, (lag.source, *lag.registers), strict=False)
    )


def settle(env: Env) -> dict[str, Typing]:
    """Give every lag of a later name its source; the types of the names whose guess was wrong."""
    wrong: dict[str, Typing] = {}
    for key, lag in env.body.lags.items():
        if key[0] != "later":
            continue
        name = lag.name.rpartition(".")[2]
        binding = env.scope.find(name)
        if binding is None:
            env.refuse(Fault(code.UNKNOWN_NAME, f"there is no name `{name}`"), lag.span)
        elif isinstance(binding.term, Value):
            binding.used = True
            found = Typing(binding.term.shape, binding.term.kind, binding.term.domain)
            if found != env.body.guesses.get(name, GUESS):
                wrong[name] = found
            lag.source = binding.term
        elif binding.term is POISON:
            remedy = f"declare it: `state {name}: [..]`, then `{name}' = ...`"
            message = f"the shape of `{name}[{lag.axis}-1]` is not known here"
            env.refuse(Fault(code.WRONG_LAG, message, remedy=remedy), lag.span)
    return wrong
