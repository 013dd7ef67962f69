"""What the elaborator writes out, folded up again: `reset when r` and `x[t-1]`.

Both leave a pattern in the graph.  Where a graph shows the pattern, its text is the short form; where it does not
(because a program was simplified, or built otherwise), the text says in full what the graph does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.pipeline import components
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Value, depends_on, postorder, users

REGISTER = re.compile(r"(?P<name>.+)\[(?P<axis>\w+)-\d+\]")


@dataclass(frozen=True, slots=True)
class Lag:
    """`source` some positions back along an axis; `pad` is the scalar before the start, None for 0."""

    name: str
    source: Value
    axis: str
    steps: int
    pad: Value | None


def without_reset(cell: Cell) -> tuple[Cell, Value | None]:
    """The cell without its `reset when`, and the condition; the cell itself where there is no such pattern."""
    reads = users(cell.roots())
    leaves = [v for v in postorder(cell.roots()) if v.op == "state"]
    inits = {state.name: state.init for state in cell.states}
    guards = {leaf: _guard(leaf, inits[str(leaf.attr("name"))], reads[leaf]) for leaf in leaves}
    conditions = {guard.args[0] if guard is not None else None for guard in guards.values()}
    condition = conditions.pop() if len(conditions) == 1 else None
    if condition is None or depends_on([condition], lambda v: v.op == "state"):
        return cell, None
    # The stand-ins keep the substitution from replacing a state inside of its own replacement.
    stands = {leaf: ops.leaf("input", f"state {n}", leaf.shape, leaf.kind) for n, leaf in enumerate(leaves)}
    bare = substitute(cell, {guard: stands[leaf] for leaf, guard in guards.items() if guard is not None})
    return substitute(bare, {stand: leaf for leaf, stand in stands.items()}), condition


def _guard(leaf: Value, init: Value, reads: tuple[Value, ...]) -> Value | None:
    """`where(condition, init, leaf)` if nothing else reads the state."""
    match reads:
        case [Value("where", (_, start, arriving)) as guard] if start is init and arriving is leaf:
            return guard
    return None


def lags(cell: Cell) -> dict[Value, Lag]:
    """The hidden states that come from reading a name some positions back, by the state's leaf.

    A name whose own value depends on what it was is a recurrence, and better shown as a state; the lag of a state is
    part of the state's recurrence anyway.
    """
    cyclic = {name for part in components(cell) if part.cyclic for name in part.names}
    states = {state.name: state for state in cell.states}
    found: dict[Value, Lag] = {}
    pads: dict[Value, Value | None] = {}
    for state in cell.states:
        lag = _lag(state, states) if state.hidden and not state.backward else None
        if lag is None or (state.name in cyclic and lag.source.op != "state"):
            continue
        if pads.setdefault(lag.source, lag.pad) is lag.pad:
            found[_leaf(state)] = lag
    return found


def _lag(state: State, states: Mapping[str, State]) -> Lag | None:
    """Follow the shift register back to what it holds."""
    match = REGISTER.fullmatch(state.name)
    source, steps = state.next, 1
    while source.op == "state" and states[str(source.attr("name"))].hidden:
        register = states[str(source.attr("name"))]
        if register.init is not state.init:
            return None
        source, steps = register.next, steps + 1
    if match is None or len(state.axes) != 1 or source.op in ("const", "size", "iota", "param"):
        return None
    own = states[str(source.attr("name"))] if source.op == "state" else None
    if own is not None:
        fits = own.init is state.init and own.axes == state.axes
        return Lag(match["name"], source, state.axes[0], steps + 1, None) if fits else None
    pad = _pad(state, source)
    plain = state.init is build.zeros(state.shape, state.kind)
    return Lag(match["name"], source, state.axes[0], steps, pad) if plain or pad is not None else None


def _pad(state: State, source: Value) -> Value | None:
    """The scalar before the start, which only inputs can declare."""
    if source.op != "input" or state.init is build.zeros(state.shape, state.kind):
        return None
    if not state.shape:
        return state.init
    return state.init.args[0] if state.init.op == "expand" and not state.init.args[0].shape else None


def _leaf(state: State) -> Value:
    return ops.state(state.name, state.axes[0], state.shape, state.kind, state.domain)


def without_lags(cell: Cell, found: Mapping[Value, Lag]) -> Cell:
    """The cell without the states of lags."""
    names = {str(leaf.attr("name")) for leaf in found}
    return replace(cell, states=tuple(state for state in cell.states if state.name not in names))
