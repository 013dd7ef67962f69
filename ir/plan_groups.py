"""Which recurrences of a cell share a loop, and in which order the loops run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lsrl.ir.cell import Cell, State
from lsrl.ir.graphs import connected
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import Component, leaf_of, states_read
from lsrl.ir.schedules.how import Dag, How, Sequential
from lsrl.ir.value import Value, depends_on, postorder


def is_static_product(value: Value, varying: frozenset[Value]) -> bool:
    """Whether the value is a contraction or convolution of a varying operand with a static array (`W @ x`)."""
    if family(value.op) not in (Family.CONTRACTION, Family.STENCIL):
        return False
    spec = str(value.attr("spec")) if value.op == "einsum" else ""
    contracts = value.op != "einsum" or set(spec.split("->")[0]) - {","} != set(spec.split("->")[1])
    return contracts and any(arg not in varying and arg.rank >= 2 for arg in value.args)


def loop_groups(
    cell: Cell, parts: Sequence[Component], varying: frozenset[Value], hows: Mapping[Component, How]
) -> Iterator[tuple[int, tuple[State, ...]]]:
    """The recurrences in order of execution; those that light work connects in one direction share a loop.

    Each with its level: it needs those of lower levels only.
    """
    by_state = {state.name: part for part in parts for state in part.states}
    levels: dict[Component, int] = {}
    cyclic: list[Component] = []
    light: list[tuple[Component, Component]] = []
    for part in parts:
        crossings = [(by_state[name], heavy) for name, heavy in _crossings(part, varying)]
        crossings = [(earlier, heavy or not _alike(hows.get(earlier), hows.get(part))) for earlier, heavy in crossings]
        levels[part] = max(
            (_level(part, earlier, heavy, levels) for earlier, heavy in crossings), default=0 if part.cyclic else -1
        )
        if part.cyclic:
            levels[part] = max(levels[part], 0)
            cyclic.append(part)
            light += [(part, e) for e, _ in crossings if e.cyclic and levels[e] == levels[part]]
    merged = sorted(connected(cyclic, light), key=lambda group: _rank(cell, group, levels))
    for group in merged:
        names = {name for part in group for name in part.names}
        yield levels[group[0]], tuple(state for state in cell.states if state.name in names)


def _alike(first: How | None, second: How | None) -> bool:
    """Whether two recurrences can share a loop, as far as their schedules go; a shift (None) joins any."""
    known = [how for how in (first, second) if how is not None]
    return all(isinstance(how, Sequential | Dag) for how in known) and len({*known}) < 2


def _rank(cell: Cell, group: Iterable[Component], levels: Mapping[Component, int]) -> tuple[int, int]:
    chosen = tuple(group)
    names = {name for part in chosen for name in part.names}
    return levels[chosen[0]], min(place for place, state in enumerate(cell.states) if state.name in names)


def _level(part: Component, earlier: Component, heavy: bool, levels: Mapping[Component, int]) -> int:
    if not part.cyclic:
        return levels[earlier]
    apart = heavy or not earlier.cyclic or earlier.reverse != part.reverse
    return levels[earlier] + (1 if apart else 0)


def _crossings(part: Component, varying: frozenset[Value]) -> Iterator[tuple[str, bool]]:
    """The states of other components that this one reads, and whether a product with a parameter lies between."""
    nexts = [state.next for state in part.states]
    own = depends_on(nexts, leaf_of(part.names))
    heavy = [v for v in postorder(nexts) if v not in own and is_static_product(v, varying)]
    behind = set(states_read(heavy))
    yield from ((name, name in behind) for name in states_read(nexts) if name not in part.names)
