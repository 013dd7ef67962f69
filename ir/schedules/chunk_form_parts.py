"""The normal form of a recurrence that runs in chunks, as data.

A state S [rows K, columns V], one for each of its lanes, becomes at every position

    S' = Diag(r) S Diag(c) + sum_j w_j u_j^T,    u_j = v_j + sum_m C[j, m] z_m,    z_m = a_m^T S

with decays r and c, readers a, keys w, own values v and the mix C.  The readers see the state as it arrives, before it
decays.  The class is closed under composition (`lsrl.ir.schedules.chunk_form_steps`), so a product of any number of
such maps within one step (a product of Householder matrices) is one of them again, with a key for each factor, and C
strictly lower triangular beside its diagonal.

Linear attention, retention, GLA, HGRN2, Mamba-2, RWKV-6 and 7, the delta family, Comba, Oja, DPLR and IPLR are of this
form; see the table of Yang et al., 2024, "Parallelizing linear transformers with the delta rule", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lsrl.ir.cell import State
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.value import Value


class Side(StrEnum):
    """Which axis of the state a read sums over: `ROWS` is q^T S [*lanes, V], `COLUMNS` is S q [*lanes, K]."""

    ROWS = "rows"
    COLUMNS = "columns"


@dataclass(frozen=True, slots=True)
class ChunkStep:
    """One step of the normal form.  Every value is computed before, for all positions; one that is static is the
    same at all of them (it has no batch and no position in an emitted module).

    Attributes:
        decay_rows: r, [*lanes, K], or [*lanes] for a scalar in each lane, or None for 1.
        decay_columns: c, [*lanes, V], or None for 1; None wherever there are readers.
        readers: a_m, each [*lanes, K].
        keys: w_j, each [*lanes, K].
        values: v_j, each [*lanes, V] ([*lanes] where the state has no columns), or None for 0; one for each key.
        mix: C[j][m], each [*lanes], or None for 0; a row for each key, in it one for each reader.
    """

    decay_rows: Value | None
    decay_columns: Value | None
    readers: tuple[Value, ...]
    keys: tuple[Value, ...]
    values: tuple[Value | None, ...]
    mix: tuple[tuple[Value | None, ...], ...]


@dataclass(frozen=True, slots=True)
class ReadTerm:
    """A product of the state with a vector.

    Attributes:
        vector: q, [*lanes, K] for `ROWS`, [*lanes, V] for `COLUMNS`.
        side: the axis that is summed over.
        after: of the state that is passed on; otherwise of the one that arrives.
        scale: multiplies what is read, element by element, [*lanes, V] or [*lanes, K]; None for 1.
    """

    vector: Value
    side: Side
    after: bool
    scale: Value | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What later work needs of the state: `result = sum of the terms + rest`.

    Attributes:
        result: a value of the cell's graph.
        terms: what is summed; every term gives [*lanes, X] with the same X ([*lanes] for rows of a state without
            columns).
        rest: computed before, of the shape of `result`, or None.
        perm: the axes of `result` in terms of those of [*lanes, X]: `result = transpose(sum, perm) + rest`.
    """

    result: Value
    terms: tuple[ReadTerm, ...]
    rest: Value | None
    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkForm:
    """A recurrence in normal form.

    Attributes:
        state: the state; its initial and last values have the shape of the program.
        leaf: its value as it arrives.
        reverse: from the last position to the first.
        perm: the axes of the state in the order lanes, rows, columns: `S = transpose(state, perm)`.
        lanes, rows, columns: their sizes; `columns` is None for a state that is a vector in each lane (V = 1).
        step: what happens at each position.
        reads: what later work needs.
    """

    state: State
    leaf: Value
    reverse: bool
    perm: tuple[int, ...]
    lanes: Shape
    rows: Dim
    columns: Dim | None
    step: ChunkStep
    reads: tuple[Read, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        """What must be computed before, each once."""
        step = self.step
        found = [step.decay_rows, step.decay_columns, *step.readers, *step.keys, *step.values]
        found += [each for row in step.mix for each in row]
        for read in self.reads:
            found += [each for term in read.terms for each in (term.vector, term.scale)] + [read.rest]
        return tuple(dict.fromkeys(value for value in found if value is not None))

    @property
    def results(self) -> tuple[Value, ...]:
        """The values of the cell's graph that running it gives for all positions."""
        return tuple(read.result for read in self.reads)
