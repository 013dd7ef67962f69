"""A scanned loop in Triton: its kernels with their texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_writer import Kernel
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel import write_scan_kernel
from lsrl.backends.scan_kernel_form import scan_kernel_form
from lsrl.backends.scan_kernel_pieces import write_piece_kernels
from lsrl.backends.scan_kernel_tiles import scan_tiling
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.scan_form import ScanForm, scan_form
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class ScanKernels:
    """The kernels of a scanned loop in the order in which they run.

    Attributes:
        pieces, carry: before the others, where time is cut: see `lsrl.backends.scan_kernel_pieces`.
        tiles: computes what the loop keeps, and its last states.
        texts: of the three.
        block: the positions of a tile.
    """

    pieces: Kernel
    carry: Kernel
    tiles: Kernel
    texts: tuple[str, str, str]
    block: int


def scan_kernels(
    names: tuple[str, str, str],
    loop: LoopCell,
    numbers: Mapping[str, int],
    dtype: str,
    data_bits: int,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> ScanKernels:
    """The kernels of a loop.

    Args:
        names: what the kernels are called.
        numbers: the number of every size.
        narrow: values around the loop that are stored in 16 bits.
        reserved: identifiers of the module.

    Raises:
        NoKernel: the loop is no recurrence that a scan serves, or no tile of it fits a program.
    """
    scan = scan_kernel_form(loop, _scan_form(loop, numbers), numbers)
    operands = max(len(each.steps) for each in scan.scans)
    tiles = scan_tiling(scan.form, numbers, data_bits, operands)
    shared = (loop, scan, tiles, numbers, KERNEL_TYPES[dtype], narrow, tuple(reserved))
    (pieces, first), (carry, second) = write_piece_kernels(names[:2], *shared)
    whole, third = write_scan_kernel(names[2], *shared)
    return ScanKernels(pieces, carry, whole, (first, second, third), tiles.batch.block)


def _scan_form(loop: LoopCell, numbers: Mapping[str, int]) -> ScanForm:
    parts = components(loop.cell)
    if len(parts) != 1:
        raise NoKernel(f"it holds {len(parts)} recurrences")
    try:
        return scan_form(loop.cell, parts[0], numbers)
    except NotLegal as refusal:
        raise NoKernel(refusal.reason) from refusal
