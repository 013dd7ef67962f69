"""Time cut into pieces, where sequences and lanes alone leave a GPU idle: two kernels before the one of the tiles.

each piece's steps as one            one program for every piece
the states at the start of a piece   one program for all pieces of a sequence: they are few
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lsrl.backends.expressions import Code, call, tupled
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_place import KernelTypes
from lsrl.backends.kernel_tiles import Tiling
from lsrl.backends.kernel_writer import Kernel
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel import ScanWriter
from lsrl.backends.scan_kernel_form import ScanKernelForm, Scanned
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.value import Kind, Value


def write_piece_kernels(
    names: tuple[str, str],
    loop: LoopCell,
    scan: ScanKernelForm,
    tiling: Tiling,
    numbers: Mapping[str, int],
    types: KernelTypes,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> tuple[tuple[Kernel, str], tuple[Kernel, str]]:
    """The two kernels, as `write_scan_kernel` gives its own; `names` are what they are called."""
    shared = (loop, scan, tiling, numbers, types, narrow, tuple(reserved))
    return _PiecesWriter(names[0], *shared).write(), _CarryWriter(names[1], *shared).write()


class _ComposedWriter(ScanWriter):
    """A kernel with an array for each coefficient of the pieces' steps."""

    def more_tensors(self) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(self.own.fresh(name), name, Role.PIECE, scan.starts[0].shape, Kind.FLOAT, False)
            for scan in self.scan.scans
            for name in _names(scan)
        )

    def addresses(self, scan: Scanned) -> list[Code]:
        """Where the coefficients of the program's piece lie."""
        tensors = [self.memory.tensors[Role.PIECE, name] for name in _names(scan)]
        return [self.memory.address(tensor, scan.starts[0], None) for tensor in tensors]


def _names(scan: Scanned) -> list[str]:
    return [f"{scan.names[0]} {name}" for name in scan.algebra.coefficients]


class _PiecesWriter(_ComposedWriter):
    """The kernel that composes the steps of a piece."""

    def write(self) -> tuple[Kernel, str]:
        starts, pointers, tile, ends = (Writer(depth=depth) for depth in (1, 1, 2, 1))
        self.write_statics(starts, self.scan.coefficients)
        self.write_reads(pointers, tile, self.scan.coefficients)
        self.write_coefficients(tile)
        for scan in self.scan.scans:
            self.write_composed(starts, tile, ends, scan)
        self.write_moves(tile)
        return self.framed(starts, pointers, tile, ends)

    def write_composed(self, starts: Writer, tile: Writer, ends: Writer, scan: Scanned) -> None:
        """The step of the piece so far: from the identity on, one tile's after the other."""
        lanes, axes = self.tiling.axes(scan.starts[0]), self.tiling.axes(scan.following[0])
        shape = self.place.shape(lanes) if lanes else "()"
        whole = self.composed_names(scan)
        for name, one in zip(whole, scan.algebra.identity, strict=True):
            starts.line(f"{name} = {call('tl.full', shape, one, self.place.types.real)}")
        steps = [str(self.last(code, axes)) for code in self.write_scan(tile, scan)]
        tile.line(f"{', '.join(whole)} = {call(scan.algebra.function, *whole, *steps)}")
        for address, name in zip(self.addresses(scan), whole, strict=True):
            ends.line(self.memory.store(scan.starts[0], address, Code(name)))


class _CarryWriter(_ComposedWriter):
    """The kernel that takes the states from piece to piece."""

    def write(self) -> tuple[Kernel, str]:
        at, starts, pieces = self.at, Writer(depth=1), Writer(depth=2)
        for scan in self.scan.scans:
            self.write_carried(starts, pieces, scan)
        body = Writer(depth=1)
        body.line(f"{at.sequence} = tl.program_id(0).to(tl.int64)")
        body.lines(self.program_lines(self.tiling.cut()))
        masks = list(self.over_time.fixed_masks())
        self.write_lanes(body, identifiers(f"{starts}{pieces}") | identifiers("\n".join(masks)))
        body.lines(masks)
        body.blank()
        body.append(starts)
        with body.block(f"for {at.piece} in range({at.pieces}):"):
            pass
        body.append(pieces)
        return self.assembled(body)

    def grid(self) -> tuple[str, ...]:
        return ("batch", *super().grid()[1:])

    def write_carried(self, starts: Writer, pieces: Writer, scan: Scanned) -> None:
        names = [f"b_{self.names.fresh(f'{name}_0')}" for name in scan.names]
        for name, state, value in zip(names, scan.names, scan.starts, strict=True):
            tensor, part = self.of(Role.START, state)
            load = self.memory.load(tensor, value, self.memory.address(tensor, value, None, part))
            self.write_block(starts, name, load, value)
            tensor, part = self.of(Role.BEGIN, state)
            address = self.memory.address(tensor, value, None, part)
            pieces.line(self.memory.store(value, address, Code(name)))
        step = self.composed_names(scan)
        for name, address, tensor_name in zip(step, self.addresses(scan), _names(scan), strict=True):
            tensor = self.memory.tensors[Role.PIECE, tensor_name]
            pieces.line(f"{name} = {self.memory.load(tensor, scan.starts[0], address)}")
        moved = scan.algebra.applied([Code(name) for name in step], [Code(name) for name in names])
        pieces.line(f"{', '.join(names)} = {tupled([str(each) for each in moved]) if len(moved) > 1 else moved[0]}")
