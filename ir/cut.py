"""Where to draw the line between what runs inside a loop and what runs for all positions at once.

Both sides of a loop pose the same question: which values cross the line?  Each costs its number of elements at every
position, so the answer is a minimum cut.  Among cuts of equal cost the caller chooses a side: a line close to the loop
moves element-wise work out of it (right where a step is dear), a distant one keeps it inside (right where memory
traffic is).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod

from lsrl.ir.value import Value

FREE = 1 << 62


def minimum_cut(
    values: Sequence[Value],
    arguments: Callable[[Value], Iterable[Value]],
    sources: Iterable[Value],
    needed: Iterable[Value],
    sizes: Mapping[str, int],
    late: bool,
) -> tuple[Value, ...]:
    """The cheapest set of values from which everything needed beyond the line follows, in the order of `values`.

    Args:
        values: the vertices, operands before users.
        arguments: the operands of a value that are vertices too.
        sources: computed before the line; they may be in the cut.
        needed: what the other side of the line asks for; these may be in the cut too.
        late: among equally cheap cuts the one nearest to what is needed, otherwise the one nearest to the sources.
    """
    # A value is an edge from its place to the next, which costs its elements; all other edges are free.
    place = {value: 2 * number for number, value in enumerate(values)}
    source, sink = 2 * len(values), 2 * len(values) + 1
    flow = _Flow(sink + 1)
    for value in values:
        flow.edge(place[value], place[value] + 1, max(1, prod(dim.evaluate(sizes) for dim in value.shape)))
        for argument in arguments(value):
            flow.edge(place[argument] + 1, place[value], FREE)
    for value in sources:
        flow.edge(source, place[value], FREE)
    for value in needed:
        flow.edge(place[value] + 1, sink, FREE)
    flow.fill(source, sink)
    if late:
        after = flow.leading_to(sink)
        return tuple(v for v in values if place[v] not in after and place[v] + 1 in after)
    before = flow.levels(source)
    return tuple(v for v in values if place[v] in before and place[v] + 1 not in before)


class _Flow:
    """A flow through a graph of numbered places (Dinic's algorithm).

    Edge number e leads to `ends[e]` and has room for `room[e]` more; e ^ 1 is the same edge backwards.
    """

    def __init__(self, places: int) -> None:
        self.ends: list[int] = []
        self.room: list[int] = []
        self.edges: list[list[int]] = [[] for _ in range(places)]

    def edge(self, start: int, end: int, capacity: int) -> None:
        for here, there, room in ((start, end, capacity), (end, start, 0)):
            self.edges[here].append(len(self.ends))
            self.ends.append(there)
            self.room.append(room)

    def fill(self, source: int, sink: int) -> None:
        """Let as much flow as there is room for."""
        while sink in (level := self.levels(source)):
            untried = [iter(edges) for edges in self.edges]
            while path := self._path(source, sink, level, untried):
                amount = min(self.room[edge] for edge in path)
                for edge in path:
                    self.room[edge] -= amount
                    self.room[edge ^ 1] += amount

    def levels(self, source: int) -> dict[int, int]:
        """The places that there is room to, with the number of edges on the way."""
        level, queue = {source: 0}, deque([source])
        while queue:
            place = queue.popleft()
            for edge in self.edges[place]:
                end = self.ends[edge]
                if self.room[edge] and end not in level:
                    level[end] = level[place] + 1
                    queue.append(end)
        return level

    def leading_to(self, sink: int) -> set[int]:
        """The places from which there is room to the sink."""
        found, stack = {sink}, [sink]
        while stack:
            for edge in self.edges[stack.pop()]:
                start = self.ends[edge]
                if self.room[edge ^ 1] and start not in found:
                    found.add(start)
                    stack.append(start)
        return found

    def _path(self, source: int, sink: int, level: Mapping[int, int], untried: Sequence[Iterator[int]]) -> list[int]:
        """Edges with room from the source to the sink, level by level; none where nothing is left to try."""
        path: list[int] = []
        place = source
        while place != sink:
            for edge in untried[place]:
                end = self.ends[edge]
                if self.room[edge] and level.get(end) == level[place] + 1:
                    path.append(edge)
                    place = end
                    break
            else:
                if not path:
                    return []
                place = self.ends[path.pop() ^ 1]
        return path
