"""How a scanned loop is spread over programs: tiles of positions by lanes.

A tile's positions lead every block that varies, in the place that a tile of sequences has elsewhere.  The lanes of one
row are loaded together, so that a warp reads whole lines of memory; a thread then owns a few columns of the tile and
composes their steps without a word to other threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lsrl.backends.kernel_form import KernelForm, NoKernel
from lsrl.backends.kernel_tiles import LANES, Tile, Tiling, grown, largest, power_of_two, whole
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import VARYING
from lsrl.ir.value import depends_on

TIME = "t"
ROW = 2 * LANES  # elements of a row: 8 bytes for each lane of a warp in 32 bits, 4 in 16
WIDE_ROW = 16 * LANES  # of a row whose lanes meet, such as the states of a channel that its output sums over
NEWTON_ROW = LANES // 4  # of a row of Newton's method: 32 bytes in 32 bits, what memory moves at least
FEWEST, MOST = 8, 64  # positions of a tile
WARP_TILE = 32 * LANES  # elements of one block for each warp: 32 registers of a thread
WIDE_WARP_TILE = 16 * LANES  # the same where lanes meet, since blocks are then laid out in several ways
MOST_WARPS = 8
NEWTON_WARPS = 4


def scan_tiling(form: KernelForm, numbers: Mapping[str, int], data_bits: int, operands: int) -> Tiling:
    """The tiles of a scan.

    Args:
        numbers: the number of every size.
        data_bits: 16, 32 or 64.
        operands: how many numbers make a step; all of them are in registers at once.

    Raises:
        NoKernel: a program cannot hold the least number of positions.
    """
    row = _row(form, numbers)
    words = 2 if data_bits == 64 else 1
    meets = any(not tile.parallel for tile in row.tiles.values())
    row = grown(row, (WIDE_ROW if meets else ROW) // words, LANES)
    budget = (WIDE_WARP_TILE if meets else WARP_TILE) // words * 2 // max(2, operands)
    return _filled(row, budget, budget * (MOST_WARPS if meets else 1), MOST)


def newton_tiling(form: KernelForm, numbers: Mapping[str, int], data_bits: int, operands: int, most: int) -> Tiling:
    """The tiles of Newton's method: few lanes and many positions, for those are what it computes at once.

    Args:
        numbers, data_bits, operands: as for a scan.
        most: no tile has more positions.

    Raises:
        NoKernel: a program cannot hold the least number of positions.
    """
    words = 2 if data_bits == 64 else 1
    row = grown(_row(form, numbers), NEWTON_ROW, NEWTON_ROW)
    budget = WARP_TILE // words * 2 // max(2, operands)
    return _filled(row, budget, budget * NEWTON_WARPS, most)


def _row(form: KernelForm, numbers: Mapping[str, int]) -> Tiling:
    """Tiles of one position."""
    varying = depends_on(form.cell.roots(), lambda value: value.op in VARYING)
    return Tiling(form, whole(form, numbers, {TIME}), _positions(1), varying, frozenset(), True, 1)


def _filled(row: Tiling, budget: int, limit: int, most: int) -> Tiling:
    """As many positions as leave no block with more than `limit` elements, `budget` of them for each warp.

    They are a power of two, and no more than `most`.
    """
    lanes, positions = largest(row), min(FEWEST, 1 << most.bit_length() - 1)
    while positions < most and 2 * positions * lanes <= limit:
        positions *= 2
    warps = power_of_two(-(-positions * lanes // budget))
    if warps > MOST_WARPS:
        raise NoKernel(f"{lanes} numbers at each of {positions} positions are more than a program holds")
    return replace(row, batch=_positions(positions), warps=warps)


def _positions(block: int) -> Tile:
    """A tile of positions, the last of which may lie beyond the end."""
    return Tile(TIME, Dim.of("T"), 2 * block + 1, block, parallel=True)
