"""How many units each program of a group owns, by a model of one position on a GPU.

Every legal choice is enumerated.  Many programs share the products, but each of them reads the whole of what is
exchanged, and all have to be on the GPU at once; few programs own so much of the matrices that these do not fit into
shared memory and are read again at every position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from lsrl.backends.group_form import GroupForm
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.kernel_tiles import DOT, LANES, SHARED_BYTES, Tile, Tiling, power_of_two, whole
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import VARYING
from lsrl.ir.value import depends_on

UNITS = (16, 32, 64, 128)  # of a program
CHUNK_BYTES = 256  # of what is summed at once, in one row
WARPS = {2: (4, 8), 4: (8,), 8: (8,)}  # of a program, by the bytes of what is multiplied
WHOLES_AHEAD = 96  # registers of a thread with wholes on their way to the products
AHEAD = 192  # registers of a thread with rows of the matrices on their way to shared memory, before the loop
PROGRAMS = 108  # that the smaller of the GPUs runs at once, one on each multiprocessor
SPARE_BYTES = 2048

# One multiprocessor of an H100 at 1.7 GHz; microseconds, and per microsecond.
MEETING = 0.9  # store, release, and the poll that sees it
LATENCY = 0.5  # of a load from the L2 cache
L2_BYTES = 5.5e6
L2_BYTES_OF_ONE = 109e3
SHARED_BYTES_READ = 218e3
FLOPS = {2: 4.5e6, 4: 0.2e6, 8: 0.1e6}
LAUNCH = 5.0  # of a kernel that does next to nothing
MATRIX_BYTES = 3.0e6  # of a product of a matrix and few vectors
REGISTER_BYTES = 4


@dataclass(frozen=True, slots=True)
class GroupTiling:
    """The tiles of a loop for groups of programs.

    Attributes:
        group: the loop.
        tiling: of one program.
        whole: how much is summed; chunks of the block of its tile.
        resident: whether a program keeps its rows of the matrices, or reads them at every position.
        ahead: how many chunks of wholes a program that keeps its rows reads before it multiplies the first.
        shared: bytes of shared memory that a program needs at most.
        microseconds: of one position, by the model.
        waves: how often the kernel may run, on some of the sequences each, before launches at each position are faster.
    """

    group: GroupForm
    tiling: Tiling
    whole: Tile
    resident: bool
    ahead: int
    shared: int
    microseconds: float
    waves: int = 1

    @property
    def chunk(self) -> Tile:
        """The tile of one chunk of the wholes."""
        return self.tiling.tiles[self.group.summed]

    @property
    def chunks(self) -> int:
        return -(-self.whole.number // self.chunk.block)

    @property
    def units(self) -> Tile:
        return self.tiling.tiles[self.group.units]


def group_tiling(group: GroupForm, numbers: Mapping[str, int], data_bits: int, launches: int) -> GroupTiling:
    """The fastest of the legal tiles.

    Args:
        numbers: the number of every size.
        launches: how many kernels each position takes where no group runs.

    Raises:
        NoKernel: nothing fits, or launching kernels at each position is faster.
    """
    found = list(_candidates(group, numbers, data_bits // 8))
    if not found:
        raise NoKernel("no GPU has room for its programs at once")
    best = min(found, key=lambda tiles: tiles.microseconds)
    matrices = sum(prod(d.evaluate(numbers) for d in m.shape) for panel in group.panels for m in panel.matrices)
    apart = LAUNCH * launches + matrices * (data_bits // 8) / MATRIX_BYTES
    if best.microseconds > apart:
        raise NoKernel("programs that meet would take longer than launches at each position")
    return replace(best, waves=int(apart / best.microseconds))


def _candidates(group: GroupForm, numbers: Mapping[str, int], width: int) -> Iterator[GroupTiling]:
    tiles = whole(group.form, numbers, {"b"})
    units, summed = tiles[group.units], tiles[group.summed]
    block = max(DOT, min(CHUNK_BYTES // width, power_of_two(summed.number)))
    chunk = Tile(f"{units.name}_all", summed.size, block, block, False)
    varying = depends_on(group.form.cell.roots(), lambda value: value.op in VARYING)
    products = frozenset(value for panel in group.panels for value in panel.products)
    batch = Tile("b", Dim.of("B"), 2 * DOT + 1, DOT, True)
    for count, warps in product(UNITS, WARPS[width]):
        own = replace(units, block=count)
        spread = {**tiles, group.units: own, group.summed: chunk}
        tiling = Tiling(group.form, spread, batch, varying, products, True, warps, 1)
        if own.programs > 1 and prod(tile.programs for tile in tiling.cut()) <= PROGRAMS:
            yield from _kept_or_read(GroupTiling(group, tiling, summed, True, 1, 0, 0.0), width)


def _kept_or_read(tiles: GroupTiling, width: int) -> Iterator[GroupTiling]:
    """Both ways; without tensor cores, kernels that keep rows for products of several meetings compile to spills."""
    kept = [replace(tiles, ahead=_ahead(tiles, width))] if width == 2 or tiles.group.meetings == 1 else []
    for tried in (*kept, replace(tiles, resident=False)):
        needed = _shared(tried, width)
        on_its_way = _slab(tiles, width) / _registers(tiles) if tried.resident else 0
        if needed <= SHARED_BYTES and on_its_way <= AHEAD:
            yield replace(tried, shared=needed, microseconds=_microseconds(tried, width))


def _registers(tiles: GroupTiling) -> int:
    """Bytes of one register of every thread."""
    return tiles.tiling.warps * LANES * REGISTER_BYTES


def _ahead(tiles: GroupTiling, width: int) -> int:
    """As many chunks of wholes as there are at once, as registers hold, and shared memory beside the rows."""
    group, chunk = tiles.group, DOT * tiles.chunk.block * width
    most = max(len(group.at(level)) for level in range(group.meetings)) * tiles.chunks
    room = (SHARED_BYTES - SPARE_BYTES - _slab(tiles, width)) // chunk
    return max(1, min(most, room, WHOLES_AHEAD * _registers(tiles) // chunk))


def _columns(tiles: GroupTiling) -> list[int]:
    """Of every panel."""
    return [panel.width * tiles.units.block for panel in tiles.group.panels]


def _slab(tiles: GroupTiling, width: int) -> int:
    """Bytes of the matrices that a program works with at each position."""
    return sum(_columns(tiles)) * tiles.chunks * tiles.chunk.block * width


def _shared(tiles: GroupTiling, width: int) -> int:
    """Bytes of the matrices or of the chunks on their way, of wholes, and of results that change their layout."""
    chunk = tiles.chunk.block * width
    results = max(_columns(tiles)) * DOT * 4
    if tiles.resident:
        return _slab(tiles, width) + max(DOT * chunk * tiles.ahead, results) + SPARE_BYTES
    ahead = 3 * (sum(_columns(tiles)) + DOT * len(tiles.group.exchanges)) * chunk
    return ahead + results + SPARE_BYTES


def _microseconds(tiles: GroupTiling, width: int) -> float:
    group, slab = tiles.group, _slab(tiles, width)
    programs = prod(tile.programs for tile in tiles.tiling.cut())
    wholes = len(group.exchanges) * programs * DOT * tiles.whole.number * width
    repeats = _repeats(tiles) if width == 2 else 1
    if tiles.resident:
        matrices = slab * repeats / SHARED_BYTES_READ
    else:
        matrices = max(slab * programs / L2_BYTES, slab / L2_BYTES_OF_ONE) + LATENCY * tiles.chunks / 3
    products = 2 * DOT * sum(_columns(tiles)) * tiles.whole.number * repeats / FLOPS[width]
    return (MEETING + LATENCY) * group.meetings + wholes / L2_BYTES + max(matrices, products)


def _repeats(tiles: GroupTiling) -> int:
    """How many warps do the same work on tensor cores, which give each 16 x 8 results and split columns, not rows.

    Where a tile of sequences is as high as results are wide, it is the rows that the compiler splits.
    """
    columns, warps = min(_columns(tiles)), tiles.tiling.warps
    return warps if columns <= DOT else max(1, warps * 8 // columns)
