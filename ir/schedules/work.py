"""What one position of one sequence asks of a recurrence: the numbers that costs of schedules are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from lsrl.ir.cell import Cell
from lsrl.ir.cost import COMPLEX_SUM, elements, flops
from lsrl.ir.dims import Shape
from lsrl.ir.facts.recurrence import Recurrence
from lsrl.ir.facts.structure import Along, Structure
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import components
from lsrl.ir.plan import Loop, make_plan
from lsrl.ir.schedules.device import FUNCTION
from lsrl.ir.schedules.how import Sequential
from lsrl.ir.value import Kind, Value

_FUNCTIONS = frozenset(
    op
    for line in (
        "exp log expm1 log1p logaddexp pow sin cos tan atan2 cis",
        "tanh sigmoid softplus logsigmoid silu gelu erf",
    )
    for op in line.split()
)


@dataclass(frozen=True, slots=True)
class Work:
    """One step of a recurrence, for one sequence.

    Attributes:
        elements: numbers of state; a complex one counts as two.
        products: FLOPs of products of matrices, reading the state out among them.
        pointwise: all other arithmetic; a transcendental function counts `FUNCTION`.
        operations: how many operations it has; `heavy` of them are products.
        reads: numbers that arrive from outside at every position.
        kept: numbers given to what comes after.
        block: states that meet in one unit, where the Jacobian is diagonal or a small block; 0 where it is dense.
        lanes: heads of a matrix state, each with `rows` by `columns` numbers.
        rank: of what is added to a diagonal transition, all factors together.
        decays: numbers of a decay that varies along the rows of a head; 0 where it is one number.
    """

    elements: int
    products: int
    pointwise: int
    operations: int
    heavy: int
    reads: int
    kept: int
    block: int
    lanes: int
    rows: int
    columns: int
    rank: int
    decays: int


def work(cell: Cell, found: Recurrence, sizes: Mapping[str, int]) -> Work:
    """What a recurrence of a cell asks for at one position, in a loop of its own."""
    loop = _own_loop(cell, found, sizes)
    heavy = [value for value in loop.body if family(value.op) in (Family.CONTRACTION, Family.STENCIL)]
    lanes, rows, columns = _matrix(found, sizes)
    return Work(
        elements=sum(_numbers(state.shape, state.kind, sizes) for state in found.states),
        products=flops(heavy, sizes),
        pointwise=flops(loop.body, sizes) - flops(heavy, sizes) + (FUNCTION - 1) * _functions(loop.body, sizes),
        operations=len(loop.body),
        heavy=len(heavy),
        reads=sum(_size(value, sizes) for value in loop.reads),
        kept=sum(_size(value, sizes) for value in loop.emits),
        block=_block(found, sizes),
        lanes=lanes,
        rows=rows,
        columns=columns,
        rank=sum(_rank(each) for each in found.structures.values()),
        decays=rows if any(map(_decays, found.structures.values())) else 0,
    )


def _own_loop(cell: Cell, found: Recurrence, sizes: Mapping[str, int]) -> Loop:
    """The loop that it would be if it shared none."""
    name = found.states[0].name
    return next(loop for loop in _own_loops(cell, tuple(sizes.items())) if loop.states[0].name == name)


@lru_cache(maxsize=2)
def _own_loops(cell: Cell, sizes: tuple[tuple[str, int], ...]) -> tuple[Loop, ...]:
    """A loop for every recurrence: loops of different schedules are not merged."""
    parts = (part for part in components(cell) if part.cyclic)
    hows = {state.name: Sequential(place + 1) for place, part in enumerate(parts) for state in part.states}
    return tuple(stage for stage in make_plan(cell, dict(sizes), hows=hows).stages if isinstance(stage, Loop))


def _size(value: Value, sizes: Mapping[str, int]) -> int:
    return elements(value, sizes) * (COMPLEX_SUM if value.kind is Kind.COMPLEX else 1)


def _numbers(shape: Shape, kind: Kind, sizes: Mapping[str, int]) -> int:
    count = prod(dim.evaluate(sizes) for dim in shape)
    return count * (COMPLEX_SUM if kind is Kind.COMPLEX else 1)


def _functions(values: Iterable[Value], sizes: Mapping[str, int]) -> int:
    """Elements of transcendental functions."""
    return sum(elements(value, sizes) for value in values if value.op in _FUNCTIONS)


def _block(found: Recurrence, sizes: Mapping[str, int]) -> int:
    """How many numbers meet in one unit: 1 where the Jacobian is diagonal."""
    lanes = found.jacobian.lanes
    apart = [
        prod(dim.evaluate(sizes) for axis, dim in enumerate(state.shape) if axis not in lanes[state.name])
        for state in found.states
    ]
    return sum(apart)


def _matrix(found: Recurrence, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """Heads, rows and columns of the first state: rows are the axis that the transition mixes, else the first."""
    state = found.states[0]
    shape = [dim.evaluate(sizes) for dim in state.shape]
    known = [each for leaf, each in found.structures.items() if leaf.attr("name") == state.name]
    heads = [axis for axis, each in enumerate(known[0].axes) if each.head] if known else []
    free = [axis for axis in range(len(shape)) if axis not in heads]
    mixed = [axis for axis in free if known and known[0].axes[axis].along is Along.LOW_RANK]
    rows = (mixed or free or [-1])[0]
    columns = prod(shape[axis] for axis in free if axis != rows)
    return prod(shape[axis] for axis in heads), shape[rows] if free else 1, columns


def _decays(found: Structure) -> bool:
    """Whether the diagonal part varies along an axis that is no head."""
    return any(axis.base is Along.DIAGONAL and not axis.head for axis in found.axes)


def _rank(found: Structure) -> int:
    return max((axis.rank for axis in found.axes), default=0)
