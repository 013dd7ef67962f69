"""What each schedule of a recurrence over a grid costs on a device, as `lsrl.ir.schedules.cost` says it for sequences.

A run has `length` places along each axis.  Waves and places one by one do the work of the step at every place, and keep
all states for the derivative.  Tiles with s places along each of d axes have p = s^d places and E = n s^(d-1) edges for
n states; with m outer products and r reads at a place, for each place and lane

    coefficients   2 n (n + r) (E + p m)  and  E K (m + r), in numbers
    products       2 p m r (K + V)  +  2 E K V (m + r)  +  2 E^2 K V / p

and E K V / p numbers of state are kept.  A tree has the maps of merged tiles besides: over all its levels about
16 E^2 / p numbers, and 4 E^2 K V / p, twice the products of what passes from tile to tile.

Checked in JAX on one core, forward and backward, on 64 by 64 places of `std/plstm2d_code` (processor time, median of
25, other work beside it; in units of what waves took): with states of 8 by 8, tiles of 4 by 4 places took 2.0; of 16
by 16, 0.9, where the model has 1.0, so that either will do; of 32 by 32, 0.6, and tiles of 8 by 8 places 0.3, which
the model takes for about equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, prod

from lsrl.ir.dims import Shape
from lsrl.ir.facts.recurrence import recurrences
from lsrl.ir.schedules.cost import BYTES, Amount, Cost, Run, Setting, cost
from lsrl.ir.schedules.device import device
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_form_parts import GridForm, LayeredForm
from lsrl.ir.schedules.grid_tiles import tile_form
from lsrl.ir.schedules.how import Chunk, Dag, How, Quadratic, Scan, Sequential, Tiles, Tree
from lsrl.ir.schedules.legal import Possible
from lsrl.ir.schedules.work import Work, work

SIDES = (2, 4, 8, 16)
AREAS = range(8, 65)
"""Places of a tile that are worth a try: the arithmetic of its coefficients grows with them."""
PASSES = 3
"""Coefficients are made by several operations that are not fused: three times their arithmetic, measured on a CPU."""
MOVES = 6
"""States at borders are written and read again by each product that takes them, of which few are fused."""
MERGES = 30
"""How often a tree in PyTorch moves what arrives at all tiles, since its operations are not fused.  On a CPU, with
states of 16 by 16 and of 32 by 32, it took longer than tiles by 16 and by 32 times what moving that once takes."""


@dataclass(frozen=True, slots=True)
class Places:
    """The grid of a run.

    Attributes:
        rank, length: axes, and places along each.
        batch: grids at a time.
    """

    rank: int
    length: int
    batch: int

    @property
    def all(self) -> int:
        return self.batch * prod([self.length] * self.rank)


@dataclass(frozen=True, slots=True)
class TileWork:
    """What tiles are made of, for one grid.

    Attributes:
        states, products, reads: at a place; of layers each counts.
        lanes, rows, columns: of a state.
    """

    states: int
    products: int
    reads: int
    lanes: int
    rows: int
    columns: int


def grid_costs(found: Possible, run: Run) -> tuple[Cost, ...]:
    """Of every legal schedule, tiles with each of some sides.

    Raises:
        DeviceError: the run is on a device that is not described.
    """
    place = device(run.device)
    setting = Setting(run, place, place.runtimes[run.target])
    places = Places(len(found.cell.axes), max(run.length, 1), run.batch)
    asked = _steps(found)
    return tuple(each for how in found.legal for each in _of(how, found, places, asked, setting))


def _of(how: How, found: Possible, places: Places, asked: Sequence[Work], setting: Setting) -> Iterator[Cost]:
    match how:
        case Sequential():
            yield _told(how, _by_place(places, asked, setting, places.length**places.rank), setting)
        case Dag():
            yield _told(how, _by_place(places, asked, setting, places.rank * (places.length - 1) + 1), setting)
        case Scan() | Chunk() | Quadratic():
            run = setting.run
            lines = Run(run.target, run.device, run.dtype, places.all // places.length, places.length)
            plain = replace(setting.runtime, eager=run.target == "triton")  # kernels scan over time alone
            yield cost(how, work(found.cell, found.facts.recurrence, found.sizes), lines, plain)
        case Tiles() | Tree():
            form = tile_form(found.cell, found.part)
            for side in (side for side in SIDES if side**places.rank in AREAS):
                yield _told(type(how)(side), _in_tiles(how, form, side, found, places, setting), setting)


def _steps(found: Possible) -> list[Work]:
    """What a place asks for, of the recurrence and of those that tiles would run with it."""
    known = (each for each in recurrences(found.cell) if {s.name for s in each.states} <= set(found.together))
    return [work(found.cell, each, found.sizes) for each in known]


def _told(how: How, amount: Amount, setting: Setting) -> Cost:
    flops = amount.products + amount.pointwise
    return Cost(how, setting.seconds(amount), flops, amount.bytes, amount.steps, amount.launches)


def _by_place(places: Places, asked: Sequence[Work], setting: Setting, steps: int) -> Amount:
    width = BYTES[setting.run.dtype]
    elements = sum(each.elements for each in asked)
    moved = places.all * width * sum(each.reads + each.kept for each in asked)
    return Amount(
        products=places.all * sum(each.products for each in asked),
        pointwise=places.all * sum(each.pointwise for each in asked),
        bytes=moved * setting.runtime.copies,
        steps=steps,
        operations=sum(each.operations for each in asked),
        heavy=sum(each.heavy for each in asked),
        launches=1,
        width=places.all // steps * elements,
        resident=moved + places.all * width * elements,
    ).trained(kept=places.all * width * elements)


def _in_tiles(
    how: How, form: GridForm | ElementForm, side: int, found: Possible, places: Places, setting: Setting
) -> Amount:
    asked = tile_work(form, found.sizes)
    rank, area, count = places.rank, side**places.rank, ceil(places.length / side)
    edges = asked.states * area // side
    matrix = asked.rows * asked.columns
    inner = asked.states * (asked.states + asked.reads) * (edges + area * asked.products)
    numbers = 2 * inner + edges * asked.rows * (asked.products + asked.reads)
    products = 2 * area * asked.products * asked.reads * (asked.rows + asked.columns)
    products += 2 * edges * matrix * (asked.products + asked.reads) + 2 * edges**2 * matrix / area
    levels = rank * ceil(log2(count)) if count > 1 else 0
    waves = rank * (count - 1) + 1
    if isinstance(how, Tree):
        numbers += 16 * edges**2 / area
        products += 4 * edges**2 * matrix / area
    lanes = count**rank * area * places.batch * asked.lanes
    kept = lanes * BYTES[setting.run.dtype] * edges * matrix / area
    vectors = asked.reads * asked.rows + asked.products * (asked.rows + asked.columns)
    merged = MERGES if isinstance(how, Tree) and setting.run.target == "triton" else 0
    moved = lanes * BYTES[setting.run.dtype] * (vectors + inner / asked.states) + (MOVES + merged) * kept
    steps = rank * (side - 1) + 1 + (2 * levels if isinstance(how, Tree) else waves)
    elements = isinstance(form, ElementForm)
    return Amount(
        products=0 if elements else lanes * products,
        pointwise=PASSES * lanes * (numbers + (products if elements else 0)),
        bytes=moved,
        steps=steps,
        operations=8,
        heavy=0 if elements else 4,
        launches=16 + (16 * levels if isinstance(how, Tree) else 0),
        width=lanes // area * edges * matrix / (1 if isinstance(how, Tree) else waves),
        resident=moved,
    ).trained(kept=kept)


def tile_work(form: GridForm | ElementForm, sizes: Mapping[str, int]) -> TileWork:
    """What a place of tiles has."""

    def size(shape: Shape) -> int:
        return prod(dim.evaluate(sizes) for dim in shape)

    if isinstance(form, ElementForm):
        states = form.scan.states
        return TileWork(len(states), 1, len(states), size(states[0].shape), 1, 1)
    shape = form.states[0].shape
    terms = [(vector, row) for read in form.reads for vector, row in read.terms]
    rows, columns = (size((shape[axis],)) for axis in form.perm[-2:])
    if not isinstance(form, LayeredForm):
        lanes = size(shape) // (rows * columns)
        return TileWork(len(form.states), len(form.keys), len(terms), lanes, rows, columns)
    layers = size((shape[form.perm[-3]],))
    products = sum(size((k.shape[-2], v.shape[-2])) for k, v in zip(form.keys, form.values, strict=True))
    reads = sum(size(next(each.shape[-3:-1] for each in row if each is not None)) for _, row in terms)
    lanes = size(shape) // (rows * columns * layers)
    return TileWork(len(form.states) * layers, products, reads, lanes, rows, columns)
