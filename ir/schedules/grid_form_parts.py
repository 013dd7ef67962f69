"""The form of a recurrence over a grid that runs in tiles, as data.

States S_i, matrices [rows K, columns V] in each of their lanes, each travelling along one axis, become at every place

    S_i' = sum_j T[i][j] S_j + sum_m g[i][m] k_m v_m^T

with a number T[i][j] and g[i][m] in each lane.  pLSTM is of this form (Pöppel et al., 2025, "pLSTM: parallelizable
Linear Source Transition Mark networks", section 2), and so is every sum of decayed outer products over a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.ir.cell import State
from lsrl.ir.dims import Shape
from lsrl.ir.value import Value

Row = tuple[Value | None, ...]
"""Numbers in each lane, [*lanes]; None is 0."""


@dataclass(frozen=True, slots=True)
class GridRead:
    """A value that is made of the arriving states: `result = transpose(sum_r (sum_j w_r[j] q_r^T S_j), perm) + rest`.

    Attributes:
        result: a value of the cell's graph.
        terms: a vector q [*lanes, K] and a number w for each state.
        rest: computed before, of the shape of `result`, or None.
        perm: the axes of `result` in terms of [*lanes, V].
    """

    result: Value
    terms: tuple[tuple[Value, Row], ...]
    rest: Value | None
    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GridForm:
    """A recurrence over a grid.

    Attributes:
        states: all of one shape; their initial and last values have the shape of the program.
        rank: how many axes the grid has.
        axes: the number of the axis of the grid that each travels along.
        reverse: the numbers of the axes on which it runs from the last place to the first.
        perm: the axes of a state in the order lanes, rows, columns.
        transition: T, a row for each state.
        keys, values: k and v of each outer product, [*lanes, K] and [*lanes, V].
        gates: g, a row for each state.
        reads: what later work needs.
    """

    states: tuple[State, ...]
    rank: int
    axes: tuple[int, ...]
    reverse: tuple[int, ...]
    perm: tuple[int, ...]
    transition: tuple[Row, ...]
    keys: tuple[Value, ...]
    values: tuple[Value, ...]
    gates: tuple[Row, ...]
    reads: tuple[GridRead, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        """What must be computed before, each once."""
        found = [*self.keys, *self.values, *(each for row in (*self.transition, *self.gates) for each in row)]
        for read in self.reads:
            found += [each for vector, row in read.terms for each in (vector, *row)] + [read.rest]
        return tuple(dict.fromkeys(value for value in found if value is not None))

    @property
    def results(self) -> tuple[Value, ...]:
        """The values of the cell's graph that running it gives for all places."""
        return tuple(read.result for read in self.reads)


@dataclass(frozen=True, slots=True)
class LayeredForm(GridForm):
    """States in layers, [*lanes, J, K, V], between which transitions are matrices where others are numbers.

    The fields are those of `GridForm`, with layers: `perm` has that axis before rows and columns; T is [*lanes, J, J],
    keys and values are [*lanes, JK, K] and [*lanes, JV, V], g is [*lanes, J, JK, JV]; a read has queries
    [*lanes, JQ, K], numbers [*lanes, JO, JQ, J], and as its result the axes `perm` of [*lanes, JO, V], or of
    [*lanes, V] where JO is 1 and the result has no such axis.
    """


@dataclass(frozen=True, slots=True)
class Layers:
    """Which axis of a state in layers is what; `shape` is the state's."""

    lanes: tuple[int, ...]
    layer: int
    rows: int
    columns: int
    shape: Shape

    @property
    def perm(self) -> tuple[int, ...]:
        return (*self.lanes, self.layer, self.rows, self.columns)

    def dims(self, axes: tuple[int, ...]) -> Shape:
        return tuple(self.shape[axis] for axis in axes)
