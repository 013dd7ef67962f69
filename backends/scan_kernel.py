"""A scanned loop as the text of a Triton kernel: tiles of positions, each composed by one associative scan.

coefficients of the tile's steps, computed from what is read
the steps from the tile's start to each position, as one
the states at each position, from the state at the tile's start
what is kept, computed from them and stored; the last state starts the next tile
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lsrl.backends.expressions import Code
from lsrl.backends.kernel_place import KernelTypes
from lsrl.backends.kernel_tiles import Tiling
from lsrl.backends.kernel_writer import Kernel, check_operations
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel_form import ScanKernelForm, Scanned
from lsrl.backends.scan_kernel_memory import Places
from lsrl.backends.scan_kernel_states import Carried, StateWriter
from lsrl.backends.scan_kernel_tiles import TIME
from lsrl.backends.scan_kernel_writer import in_front
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer, origin_of
from lsrl.ir.value import Value, postorder


def write_scan_kernel(
    name: str,
    loop: LoopCell,
    scan: ScanKernelForm,
    tiling: Tiling,
    numbers: Mapping[str, int],
    types: KernelTypes,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> tuple[Kernel, str]:
    """The kernel `name` over tiles of positions: what its launch needs to know, and its text.

    Args:
        numbers: the number of every size.
        narrow: values around the loop that are stored in 16 bits.
        reserved: identifiers of the module.

    Raises:
        NoKernel: an operation that kernels do not know.
    """
    check_operations(tiling.form)
    return _TilesWriter(name, loop, scan, tiling, numbers, types, narrow, tuple(reserved)).write()


class ScanWriter(StateWriter):
    """What the kernels of a scan have in common: tiles, coefficients, and their composition."""

    def __init__(
        self,
        name: str,
        loop: LoopCell,
        scan: ScanKernelForm,
        tiling: Tiling,
        numbers: Mapping[str, int],
        types: KernelTypes,
        narrow: frozenset[Value],
        reserved: tuple[str, ...],
    ) -> None:
        self.scan = scan
        super().__init__(name, loop, tiling, numbers, types, narrow, reserved)
        self.pieces = (self.at.pieces, self.at.size)

    def new_places(self) -> Places:
        wanted = ("i_b", "i_piece", "first", "last", "pieces", "piece")
        return Places(*(self.own.fresh(each) for each in wanted))

    def all_tensors(self) -> tuple[Tensor, ...]:
        starts = [tensor for tensor in self.tensors if tensor.role is Role.START]
        begun = [replace(t, role=Role.BEGIN, name=self.own.fresh(f"{t.of}_start")) for t in starts]
        return in_front(self.tensors, (*self.more_tensors(), *begun))

    def more_tensors(self) -> tuple[Tensor, ...]:
        """What the kernel has beside the arguments of the loop."""
        return ()

    def grid(self) -> tuple[str, ...]:
        return ("batch * pieces", *super().grid()[1:])

    def write_places(self, writer: Writer, used: frozenset[str]) -> None:
        at, cut = self.at, self.tiling.cut()
        writer.line(f"{at.sequence} = (tl.program_id(0) // {at.pieces}).to(tl.int64)")
        writer.line(f"{at.piece} = tl.program_id(0) % {at.pieces}")
        writer.lines(self.program_lines(cut))
        writer.line(f"o_{TIME} = tl.arange(0, {self.block})")
        self.write_lanes(writer, used)
        writer.lines(self.over_time.fixed_masks())
        writer.line(f"{at.first} = {at.piece} * {at.size}")
        writer.line(f"{at.last} = tl.minimum({at.first} + {at.size}, {self.length})")

    def write_coefficients(self, tile: Writer, users: Iterable[Value] = ()) -> None:
        """The coefficients of the tile's steps.

        Args:
            users: values written later, which may use the same operands.
        """
        self.statements.writer = tile
        coefficients = self.scan.coefficients
        cone = [v for v in postorder(coefficients, stop=self.form.views.__contains__) if v in self.body]
        again = [arg for user in users if user not in cone for arg in user.args]
        steps = [step.value for scan in self.scan.scans for step in scan.steps if step.value is not None]
        self.statements.write(cone, (), [*steps, *again])

    def write_scan(self, tile: Writer, scan: Scanned) -> tuple[Code, ...]:
        """The steps up to each position of the tile as one."""
        for value in self.scan.origins:
            tile.origin(origin_of(self.loop.cell, value))
        axes = self.tiling.axes(scan.following[0])
        pairs = zip(scan.steps, scan.algebra.identity, strict=True)
        steps = ", ".join(str(self.step(step, one, axes, scan.following[0])) for step, one in pairs)
        names = self.composed_names(scan)
        tile.line(f"{', '.join(names)} = tl.associative_scan(({steps}), 0, {scan.algebra.function})")
        return tuple(Code(name) for name in names)

    def composed_names(self, scan: Scanned) -> list[str]:
        """What the coefficients are called when they are composed."""
        return [f"b_{self.names.fresh(name)}" for name in scan.algebra.coefficients]


class _TilesWriter(ScanWriter):
    """The kernel that computes states and what is kept."""

    def write(self) -> tuple[Kernel, str]:
        starts, pointers, tile, ends = (Writer(depth=depth) for depth in (1, 1, 2, 1))
        kept = list(self.scan.kept.values())
        roots = [*self.scan.coefficients, *kept]
        self.write_statics(starts, roots)
        carried = [self.carried(scan.names, scan.starts, scan.following) for scan in self.scan.scans]
        states = [state for group in carried for state in group]
        self.write_starts(starts, states, Role.BEGIN)
        self.write_reads(pointers, tile, roots)
        late = [v for v in postorder(kept, stop=self.form.views.__contains__) if v in self.body]
        self.write_coefficients(tile, late)
        for scan, group in zip(self.scan.scans, carried, strict=True):
            self.write_states(tile, scan, group)
        self.statements.write(late, {value for value in kept if value in self.body})
        for name, value in self.scan.kept.items():
            self.write_kept(pointers, tile, name, value)
        saved = self.saved(states)
        if saved:
            self.write_first_saves(starts, saved, f"({self.at.piece} == 0) & ({self.length} > 0)")
            self.write_saves(tile, saved)
        self.write_lasts(tile, states)
        self.write_moves(tile)
        with ends.block(f"if {self.at.piece} == {self.at.pieces} - 1:"):
            self.write_ends(ends, states)
        return self.framed(starts, pointers, tile, ends)

    def write_states(self, tile: Writer, scan: Scanned, states: Sequence[Carried]) -> None:
        """The states at each position: those that follow, and where something needs them those that arrive."""
        composed = self.write_scan(tile, scan)
        shape = self.place.shape(self.tiling.axes(scan.following[0]))
        starts = [self.beside_rows(state) for state in states]
        for value, code in zip(scan.following, scan.algebra.applied(composed, starts), strict=True):
            tile.line(f"{self.statements.bind(value)} = {code}", shape)
        needed = set(postorder(self.scan.kept.values(), stop=self.form.views.__contains__))
        for leaf, state in zip(scan.arriving, states, strict=True):
            if leaf is not None and leaf in needed:
                tile.line(f"{self.statements.bind(leaf)} = {self.arriving(state)}")
