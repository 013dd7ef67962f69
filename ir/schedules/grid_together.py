"""Which recurrences over a grid run in the same tiles: those one of which takes whole states of another.

    R' = a * R + b * D + s * outer(k, v)        D' = c * D + t * outer(k, v)

D needs no R, so these are two recurrences; but R needs all of D at every place, which tiles are there not to make.  In
the tiles of both at once D is a state like R, of which nothing turns back (D-mode of Pöppel et al., 2025, "pLSTM:
parallelizable Linear Source Transition Mark networks", section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from lsrl.ir import ops
from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.linear import Term
from lsrl.ir.graphs import connected, strong_components
from lsrl.ir.pipeline import Component, components, dependencies
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Kind, Value


def tiled_together(cell: Cell, part: Component) -> Component:
    """The recurrences that run in the same tiles as one of them, itself included, in the order of declaration."""
    return next((group for group in tiled_groups(cell) if part.names <= group.names), part)


def check_together(cell: Cell, group: Component) -> None:
    """Refuse a group between whose recurrences others run.

    Raises:
        NotLegal: a state needs some of the group and is needed by others of it.
    """
    first = group.states[0].name
    one = {name: first if name in group.names else name for name in dependencies(cell)}
    readers: dict[str, list[str]] = {first: []}
    for name, read in dependencies(cell).items():
        readers.setdefault(one[name], []).extend(one[other] for other in read)
    around = next(names for names in strong_components(readers, readers) if first in names)
    between = next((name for name in around if name != first), None)
    if between is not None:
        names = " and ".join(f"`{state.name}`" for state in group.states)
        raise NotLegal(f"{names} would run in the same tiles, but `{between}` runs between them")


@lru_cache(maxsize=8)  # every schedule of every recurrence asks for them
def tiled_groups(cell: Cell) -> tuple[Component, ...]:
    """The recurrences of matrices in groups, in each of which one takes whole states of another; most are alone."""
    parts = [part for part in components(cell) if part.cyclic and all(map(_is_matrix, part.states))]
    by_state = {state.name: part for part in parts for state in part.states}
    found = connected(parts, _links(parts, by_state))
    return tuple(_joined(cell, group) for group in found)


def _links(parts: list[Component], by_state: dict[str, Component]) -> Iterator[tuple[Component, Component]]:
    """The recurrences of states of one shape and direction of which one takes a whole state of the other."""
    states = [state for part in parts for state in part.states]
    forms, _ = read_affine([state.next for state in states], list(map(_leaf, states)))
    for state, form in zip(states, forms):
        own = by_state[state.name]
        for term in () if form is None else form.terms:
            other = by_state[str(term.leaf.attr("name"))]
            if other != own and other.reverse == own.reverse and term.leaf.shape == state.shape and _is_whole(term):
                yield other, own


def _is_whole(term: Term) -> bool:
    """Whether a term keeps rows and columns, whichever axes those are."""
    return not term.through and sum(map(term.keeps, range(len(term.result)))) >= 2


def _is_matrix(state: State) -> bool:
    return state.kind is Kind.FLOAT and len(state.shape) >= 2 and len(state.axes) == 1


def _leaf(state: State) -> Value:
    return ops.state(state.name, state.axes[0], state.shape, state.kind, state.domain)


def _joined(cell: Cell, group: list[Component]) -> Component:
    names = {name for part in group for name in part.names}
    return Component(tuple(state for state in cell.states if state.name in names), group[0].reverse, True)
