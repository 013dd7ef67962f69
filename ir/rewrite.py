"""Rewriting a cell by named laws.

A law is a function `law(value) -> value or None`; its docstring is the equation.  A rule set is a tuple of laws.  The
driver works from the operands upwards and visits each value once, applying laws until none does; what no root depends
on afterwards is gone (dead code), and equal values are one value by construction (common subexpressions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from lsrl.ir.cell import Cell, Distribution
from lsrl.ir.substitute import moved_spans, with_args
from lsrl.ir.value import Value, postorder

Law = Callable[[Value], Value | None]
Watch = Callable[[Law, Value, Value], None]
MOST_STEPS = 1000


class RewriteError(AssertionError):
    """Laws that change a type or undo each other: a bug of the compiler."""


def rewrite(cell: Cell, laws: tuple[Law, ...], watch: Watch | None = None) -> Cell:
    """The cell with each value rewritten by the first law that applies, until none does.

    Names and spans survive: what replaces several values keeps the first name and all places.  `watch` sees each step:
    the law, the value before and after.
    """
    done = rewritten(cell.all_roots(), laws, watch)
    new = replace(
        cell,
        params=tuple(replace(p, init=_drawn(p.init, done)) for p in cell.params),
        noises=tuple(replace(n, draw=_drawn(n.draw, done)) for n in cell.noises),
        states=tuple(replace(s, init=done[s.init], next=done[s.next]) for s in cell.states),
        outputs=tuple(replace(o, value=done[o.value]) for o in cell.outputs),
    )
    alive = frozenset(postorder(new.all_roots()))
    spans = moved_spans(cell.spans, done)
    return replace(
        new,
        names=_names(cell.names, done, alive),
        spans={value: places for value, places in spans.items() if value in alive},
    )


def rewritten(roots: Iterable[Value], laws: tuple[Law, ...], watch: Watch | None = None) -> dict[Value, Value]:
    """What becomes of every value that the roots depend on, and of those on the way.  Iterative: depth is no limit.

    Raises:
        RewriteError: laws undo each other, go on for ever, or change a type.
    """
    done: dict[Value, Value] = {}
    becomes: dict[Value, Value] = {}
    steps: dict[Value, int] = {}  # how many laws led to a value that was not there before
    stack = list(roots)
    while stack:
        value = stack[-1]
        missing = [arg for arg in value.args if arg not in done]
        if value in done:
            stack.pop()
        elif value in becomes:
            done[value] = _settled(value, becomes[value], done)
        elif missing:
            stack.extend(reversed(missing))
            steps |= {arg: max(steps.get(arg, 0), steps.get(value, 0)) for arg in missing}
        else:
            after = _step(value, done, laws, watch)
            if after is value:
                done[value] = value
            else:
                becomes[value] = after
                steps[after] = steps.get(value, 0) + 1
                if steps[after] > MOST_STEPS:
                    raise RewriteError(f"the laws do not come to an end at {value}")
                stack.append(after)
    return done


def _settled(value: Value, after: Value, done: Mapping[Value, Value]) -> Value:
    """The end of what began as `value`; it is met again before that end only when laws lead back to it."""
    if after not in done:
        raise RewriteError(f"the laws lead from {value} back to itself")
    return done[after]


def _step(value: Value, done: Mapping[Value, Value], laws: tuple[Law, ...], watch: Watch | None) -> Value:
    """The value on its new operands, or if these are its own what the first law makes of it, or itself."""
    rebuilt = with_args(value, [done[arg] for arg in value.args])
    if rebuilt is not value:
        return rebuilt
    for law in laws:
        after = law(value)
        if after is None or after is value:
            continue
        if (after.shape, after.kind, after.domain) != (value.shape, value.kind, value.domain):
            raise RewriteError(f"{law.__name__} changes the type: {value} becomes {after}")
        if watch is not None:
            watch(law, value, after)
        return after
    return value


def _drawn(distribution: Distribution, done: Mapping[Value, Value]) -> Distribution:
    return replace(distribution, args=tuple(done[arg] for arg in distribution.args))


def _names(names: Mapping[Value, str], done: Mapping[Value, Value], alive: frozenset[Value]) -> dict[Value, str]:
    """The names of values still in use.  A constant takes over no name: it stands for too many things."""
    kept = {value: name for value, name in names.items() if done.get(value, value) is value and value in alive}
    for value, name in names.items():
        after = done.get(value, value)
        if after in alive and after.op != "const":
            kept.setdefault(after, name)
    return kept
