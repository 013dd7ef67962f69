"""`x[t-1]`: values from earlier positions, kept in hidden states.

What is near is kept in registers, each a state that passes on the one before; what is far in a line, one state that
holds all values up to there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.fault import Fault
from lsrl.ir.infer import Typing
from lsrl.ir.lines import pushed
from lsrl.ir.span import Span
from lsrl.ir.value import Kind, Value

LARGEST_LAG = 4096
NEAR = 16
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


def lagged(env: Env, base: syntax.Expr, place: Offset, span: Span) -> Value:
    """The value of `base` some positions back."""
    axis, steps = place.axis, _steps(env, place, span)
    binding = env.scope.find(base.id) if isinstance(base, (syntax.Name, syntax.Prime)) else None
    if binding is not None and binding.slot is not None:
        binding.used = True
        return of_state(env, binding.slot, axis, steps, isinstance(base, syntax.Prime), span)
    if steps == 0:
        return env.value(base)
    match base:
        case syntax.Name(name) if binding is None and name in env.body.later and not env.uses:
            return _of_later(env, name, axis, steps, span)
        case syntax.Name(name) | syntax.Attribute(_, name):
            source = env.value(base)
            return back(env, lag_of(env, source, name, axis, pad_of(env, source, binding), span), steps)
    raise Misplaced(
        code.WRONG_LAG,
        "only what has a name can be read from earlier positions",
        span=base.span,
        remedy="give it a name first: `y = ...`, then `y[t-1]`",
    )


def _steps(env: Env, place: Offset, span: Span) -> int:
    """How many positions back: a number, or sizes whose numbers the graph is built for."""
    total = Dim.of(0)
    for sign, part in place.parts:
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
    return within_reach(steps)


def within_reach(steps: int) -> int:
    """The number of positions back; a fault when there are too many."""
    if steps > LARGEST_LAG:
        raise Fault(code.LAG_TOO_FAR, f"at most {LARGEST_LAG} positions back can be read", str(steps))
    return steps


def of_state(env: Env, slot: Slot, axis: str, steps: int, primed: bool, span: Span) -> Value:
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
    return back(env, lag_of_state(env, slot, arriving, axis, span), steps - 1)


def _next(slot: Slot) -> Value:
    if slot.next is None:
        raise Poisoned if slot.poisoned else Fault(code.NOT_YET_UPDATED, f"`{slot.name}'` is not defined yet")
    return slot.next


def pad_of(env: Env, source: Value, binding: Binding | None) -> Value | None:
    """What a value is before the start, where its name or the input itself says so."""
    named = binding.pad if binding is not None else None
    return named if named is not None else env.body.pads.get(source)


def _of_later(env: Env, name: str, axis: str, steps: int, span: Span) -> Value:
    """A name that is defined further down: its type is guessed, and the guess checked at the end of the cell."""
    typing = env.body.guesses.get(name, GUESS)
    key = ("later", env.naming.prefix + name, axis, env.condition)
    if key not in env.body.lags:
        init = build.zeros(typing.shape, typing.kind)
        env.body.lags[key] = Lag(None, env.naming.prefix + name, axis, init, span, condition=env.condition)
    return back(env, env.body.lags[key], steps)


def lag_of(env: Env, source: Value, name: str, axis: str, pad: Value | None, span: Span) -> Lag:
    """The lag of a value that is called `name`; before the start it is `pad`, or 0."""
    if axis == GRAPH:
        raise Fault(code.WRONG_LAG, "a graph has no position before")
    init = build.zeros(source.shape, source.kind) if pad is None else build.full(source.shape, pad)
    return _lag(env, source, name, axis, init, span)


def _lag(env: Env, source: Value, name: str, axis: str, init: Value, span: Span, first: int = 1) -> Lag:
    key = (source, axis, init, env.condition)
    if key not in env.body.lags:
        free = env.body.copy_name(f"lag {env.naming.prefix}", f"{name}[{axis}-{first}]")
        suffix = free.removeprefix(f"{name}[{axis}-{first}]")
        full = env.naming.prefix + name + suffix
        env.body.lags[key] = Lag(source, full, axis, init, span, first, env.condition)
    return env.body.lags[key]


def lag_of_state(env: Env, slot: Slot, value: Value, axis: str, span: Span) -> Lag:
    """The lag of a state, as it arrives or (`value`) as it is passed on."""
    local = slot.name.removeprefix(env.naming.prefix)
    return _lag(env, value, local, axis, slot.init, span, first=2 if value is slot.arriving.get(axis) else 1)


def back(env: Env, lag: Lag, steps: int) -> Value:
    """The value `steps` registers back, with as many registers as that takes, or a line."""
    if steps > NEAR:
        return build.select(line(env, lag, steps), 0)
    while len(lag.registers) < steps:
        place = f"[{lag.axis}-{len(lag.registers) + lag.first}]"
        lag.registers.append(_hidden(env.body, lag, place, lag.init.shape))
    return lag.registers[steps - 1]


def line(env: Env, lag: Lag, length: int) -> Value:
    """The last values of a lag in one array, oldest first."""
    if length not in lag.lines:
        end = lag.axis if lag.first == 1 else f"{lag.axis}-{lag.first - 1}"
        place = f"[{lag.axis}-{length + lag.first - 1}:{end}]"
        lag.lines[length] = _hidden(env.body, lag, place, (Dim.of(length), *lag.init.shape))
    return lag.lines[length]


def _hidden(body: Body, lag: Lag, place: str, shape: Shape) -> Value:
    name = f"{lag.name}{place}"
    kept = ops.state(f"{lag.condition}.{name}" if lag.condition else name, lag.axis, shape, lag.init.kind)
    body.names.setdefault(kept, name)
    return kept


def states(body: Body) -> Iterator[State]:
    """The hidden states of all lags: shift registers and lines."""
    for lag in body.lags.values():
        if lag.source is None:
            continue
        for kept, source in zip(lag.registers, (lag.source, *lag.registers), strict=False):
            yield _state(body, lag, kept, lag.init, source)
        for kept in lag.lines.values():
            yield _state(body, lag, kept, build.expand(lag.init, kept.shape, [0]), pushed(kept, lag.source))


def _state(body: Body, lag: Lag, kept: Value, init: Value, following: Value) -> State:
    following = following if lag.condition else body.passed_on(kept, following)
    return State(str(kept.attr("name")), kept.shape, kept.kind, (lag.axis,), init, following, hidden=True)


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
