"""A scanned loop as the text of a Triton kernel: tiles of positions, each composed by one associative scan.

coefficients of the tile's steps, computed from what is read
the steps from the tile's start to each position, as one
the states at each position, from the state at the tile's start
what is kept, computed from them and stored; the last state starts the next tile
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lsrl.backends.expressions import Code, call, infix, subscript
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_place import KernelTypes, lane_mask
from lsrl.backends.kernel_tiles import Tile, Tiling
from lsrl.backends.kernel_writer import Kernel, KernelWriter, check_operations
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel_form import ScanKernelForm, Scanned, Step
from lsrl.backends.scan_kernel_memory import Places, ScanMemory
from lsrl.backends.scan_kernel_tiles import TIME
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer, origin_of
from lsrl.ir.value import Value, postorder

Save = tuple[Scanned, int]
"""A state that is kept: the scan that moves it, and its place there."""


def in_front(tensors: Sequence[Tensor], new: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The new ones before those that are written."""
    written = [tensor for tensor in tensors if tensor.role in (Role.KEPT, Role.END, Role.SAVED)]
    return (*(tensor for tensor in tensors if tensor not in written), *new, *written)


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
    check_operations(tiling)
    return _TilesWriter(name, loop, scan, tiling, numbers, types, narrow, tuple(reserved)).write()


class ScanWriter(KernelWriter):
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
        super().__init__(name, loop, tiling, numbers, types, narrow, reserved)
        self.loop, self.scan = loop, scan
        wanted = ("i_b", "i_piece", "first", "last", "pieces", "piece")
        self.at = Places(*(self.own.fresh(each) for each in wanted))
        self.pieces = (self.at.pieces, self.at.size)
        starts = [tensor for tensor in self.tensors if tensor.role is Role.START]
        begun = [replace(t, role=Role.BEGIN, name=self.own.fresh(f"{t.of}_start")) for t in starts]
        self.tensors = in_front(self.tensors, (*self.more_tensors(), *begun))
        by_role = {(tensor.role, tensor.of): tensor for tensor in self.tensors}
        saves, reverse = self.memory.saves, self.form.reverse
        self.over_time = ScanMemory(self.place, by_role, {}, self.own, self.length, reverse, saves, at=self.at)
        self.memory = self.over_time
        self.moved: list[tuple[str, Tensor]] = []

    def more_tensors(self) -> tuple[Tensor, ...]:
        """What the kernel has beside the arguments of the loop."""
        return ()

    @property
    def block(self) -> str:
        """The number of positions of a tile."""
        return self.blocks[TIME]

    def grid(self) -> tuple[str, ...]:
        return ("batch * pieces", *super().grid()[1:])

    def framed(self, starts: Writer, pointers: Writer, tile: Writer, ends: Writer) -> tuple[Kernel, str]:
        """The whole kernel, from what stands before the loop over tiles, in it, and behind it."""
        used = identifiers(f"{starts}{pointers}{ends}") | identifiers(str(tile))
        masks = identifiers("\n".join(self.memory.mask_lines()))
        body = Writer(depth=1)
        self.write_places(body, used | masks)
        for section in (starts, pointers):
            body.blank()
            body.append(section)
        with body.block(f"for i_{TIME} in range({self.at.first}, {self.at.last}, {self.block}):"):
            body.line(f"m_{TIME} = o_{TIME} < {self.at.last} - i_{TIME}")
            body.lines(self.over_time.tile_masks())
        body.append(tile)
        body.append(ends)
        return self.assembled(body)

    def write_places(self, writer: Writer, used: set[str]) -> None:
        """Which program this is, and which positions and lanes it holds."""
        at, cut = self.at, self.tiling.cut()
        writer.line(f"{at.sequence} = (tl.program_id(0) // {at.pieces}).to(tl.int64)")
        writer.line(f"{at.piece} = tl.program_id(0) % {at.pieces}")
        writer.lines(self.program_lines(cut))
        writer.line(f"o_{TIME} = tl.arange(0, {self.block})")
        self.write_lanes(writer, used)
        writer.lines(self.over_time.fixed_masks())
        writer.line(f"{at.first} = {at.piece} * {at.size}")
        writer.line(f"{at.last} = tl.minimum({at.first} + {at.size}, {self.length})")

    def write_statics(self, writer: Writer, roots: Sequence[Value]) -> None:
        """Loads of what stays the same and the roots need."""
        for value in self.read(roots):
            if self.form.is_static(value):
                self.write_load(writer, value, self.form.views[value])

    def write_reads(self, pointers: Writer, tile: Writer, roots: Sequence[Value]) -> None:
        """Loads of what the roots need of the tile's positions."""
        for value in self.read(roots):
            if not self.form.is_static(value):
                view = self.form.views[value]
                tensor = self.tensor(view)
                pointer = self.pointer(pointers, tensor, value, self.over_time.pointer(tensor, value, view))
                address = self.over_time.within(pointer, tensor, value, view)
                self.write_block(tile, self.statements.bind(value), self.memory.load(tensor, value, address), value)

    def read(self, roots: Sequence[Value]) -> list[Value]:
        """The arrays that the roots need."""
        cone = set(postorder(roots, stop=self.form.views.__contains__))
        return [value for value in self.form.views if value in cone]

    def pointer(self, writer: Writer, tensor: Tensor, value: Value, address: Code) -> str:
        """A new pointer, which moves with the tiles."""
        pointer = self.own.fresh(f"p_{self.names[value].removeprefix('b_')}")
        writer.line(f"{pointer} = {address}")
        self.moved.append((pointer, tensor))
        return pointer

    def write_moves(self, tile: Writer) -> None:
        """Pointers on to the next tile."""
        sign = "-" if self.form.reverse else "+"
        for pointer, tensor in self.moved:
            step = infix("*", Code(self.block), self.memory.advance(tensor)) if str(tensor.row) != "1" else self.block
            tile.line(f"{pointer} {sign}= {step}")

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

    @property
    def body(self) -> frozenset[Value]:
        return frozenset(self.form.body)

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

    def step(self, step: Step, identity: str, axes: tuple[Tile, ...], like: Value) -> Code:
        """A coefficient for every element of the tile, that of the identity where there is no position."""
        shape = self.place.shape(axes)
        operand = None if step.value is None else self.operand(step.value, self.statements.codes)
        if operand is None or operand.host:
            text = step.number if operand is None else operand.code
            block = call("tl.full", shape, text, self.place.types.real)
            return block if str(text) == identity else call("tl.where", self.exists(axes), block, identity)
        lanes = [n for n, tile in enumerate(self.tiling.all_tiles(like)) if not tile.single]
        index = [":" if step.value in self.tiling.varying else "None"]
        index += [":" if axis in step.axes else "None" for axis in lanes]
        spread = subscript(operand.code, ", ".join(index)) if operand.axes and "None" in index else operand.code
        block = call("tl.where", self.exists(axes), spread, identity)
        return call("tl.broadcast_to", block, shape) if "None" in index[1:] else block

    def exists(self, axes: tuple[Tile, ...]) -> str:
        """`m_t[:, None]`: which positions of the tile there are."""
        return lane_mask([tile if place == 0 else replace(tile, block=1) for place, tile in enumerate(axes)])

    def rows(self, axes: tuple[Tile, ...]) -> str:
        """`o_t[:, None]`: the positions of the tile beside its lanes."""
        return str(self.memory.lanes(axes, 0))

    def last(self, block: Code, axes: tuple[Tile, ...]) -> Code:
        """The last row of a tile."""
        is_last = infix("==", Code(self.rows(axes)), infix("-", Code(self.block), Code("1")))
        return call("tl.sum", call("tl.where", is_last, block, "0.0"), axis=0)


class _TilesWriter(ScanWriter):
    """The kernel that computes states and what is kept."""

    def write(self) -> tuple[Kernel, str]:
        starts, pointers, tile, ends = (Writer(depth=depth) for depth in (1, 1, 2, 1))
        kept = list(self.scan.kept.values())
        roots = [*self.scan.coefficients, *kept]
        self.write_statics(starts, roots)
        carried = self.write_starts(starts)
        self.write_reads(pointers, tile, roots)
        saved = [(scan, n) for scan in self.scan.scans for n in range(len(scan.names)) if self.is_saved(scan.names[n])]
        if saved:
            self.write_first_saves(starts, saved, carried)
        late = [v for v in postorder(kept, stop=self.form.views.__contains__) if v in self.body]
        self.write_coefficients(tile, late)
        for scan in self.scan.scans:
            self.write_states(tile, scan, carried)
        self.statements.write(late, {value for value in kept if value in self.body})
        for name, value in self.scan.kept.items():
            self.write_kept(pointers, tile, name, value)
        if saved:
            self.write_saves(tile, saved)
        for scan in self.scan.scans:
            axes = self.tiling.axes(scan.following[0])
            for name, value in zip(scan.names, scan.following, strict=True):
                tile.line(f"{carried[name]} = {self.last(self.code(value), axes)}")
        self.write_moves(tile)
        self.write_ends(ends, carried)
        return self.framed(starts, pointers, tile, ends)

    def code(self, value: Value) -> Code:
        return self.operand(value, self.statements.codes).code

    def write_starts(self, writer: Writer) -> dict[str, str]:
        """The states at the start of the piece, and what each is called."""
        carried = {}
        for name, value in self.scan.starts.items():
            tensor, part = self.of(Role.BEGIN, name)
            carried[name] = f"b_{self.names.fresh(f'{name}_0')}"
            address = self.memory.address(tensor, value, None, part)
            self.write_block(writer, carried[name], self.memory.load(tensor, value, address), value)
        return carried

    def write_states(self, tile: Writer, scan: Scanned, carried: Mapping[str, str]) -> None:
        """The states at each position: those that follow, and where something needs them those that arrive."""
        composed = self.write_scan(tile, scan)
        axes = self.tiling.axes(scan.following[0])
        index = ", ".join(["None", *[":"] * (len(axes) - 1)])
        carry = [Code(carried[name]) for name in scan.names]
        starts = [subscript(code, index) if len(axes) > 1 else code for code in carry]
        for value, code in zip(scan.following, scan.algebra.applied(composed, starts), strict=True):
            tile.line(f"{self.statements.bind(value)} = {code}", self.place.shape(axes))
        needed = set(postorder(self.scan.kept.values(), stop=self.form.views.__contains__))
        for leaf, start, after in zip(scan.arriving, starts, scan.following, strict=True):
            if leaf is not None and leaf in needed:
                first = infix("==", Code(self.rows(axes)), Code("0"))
                shifted = call("tl.where", first, start, call("one_before", self.code(after)))
                tile.line(f"{self.statements.bind(leaf)} = {shifted}")

    def write_kept(self, pointers: Writer, tile: Writer, name: str, value: Value) -> None:
        tensor, part = self.of(Role.KEPT, name)
        pointer = self.pointer(pointers, tensor, value, self.over_time.pointer(tensor, value, None, part))
        address = self.over_time.within(pointer, tensor, value, None, part)
        tile.line(self.memory.store(value, address, self.code(value)))

    def is_saved(self, name: str) -> bool:
        """Whether a real state's arriving values can be kept."""
        return (Role.SAVED, self.form.parts.get(name, (name, 0))[0]) in self.memory.tensors

    def write_first_saves(self, starts: Writer, saved: Sequence[Save], carried: Mapping[str, str]) -> None:
        """The states at the start of the sequence, by the programs of the first piece."""
        with starts.block(f"if {self.every}:"):
            starts.line(f"{self.memory.saves} = tl.cdiv({self.length}, {self.every})")
            with starts.block(f"if ({self.at.piece} == 0) & ({self.length} > 0):"):
                for scan, n in saved:
                    tensor, part = self.of(Role.SAVED, scan.names[n])
                    value = scan.starts[n]
                    address = self.over_time.saved(tensor, value, part, self.tiling.axes(value), Code("0"))
                    starts.line(self.memory.store(value, address, Code(carried[scan.names[n]])))

    def write_saves(self, tile: Writer, saved: Sequence[Save]) -> None:
        """Arriving states of positions some way apart: those that follow the position before."""
        after, kept = self.own.fresh("after"), self.own.fresh("m_saved")
        with tile.block(f"if {self.every}:"):
            tile.line(f"{after} = (i_{TIME} + o_{TIME} + 1).to(tl.int64)")
            inside = f"({after} <= {self.at.last}) & ({after} < {self.length})"
            tile.line(f"{kept} = ({after} % {self.every} == 0) & {inside}")
            for scan, n in saved:
                tensor, part = self.of(Role.SAVED, scan.names[n])
                value, axes = scan.following[n], self.tiling.axes(scan.following[n])
                others = [":", *["None"] * (len(axes) - 1)]
                index = f"[{', '.join(others)}]" if len(axes) > 1 else ""
                place = Code(f"({after} // {self.every}){index}")
                address = self.over_time.saved(tensor, scan.starts[n], part, axes, place)
                lanes = lane_mask([axes[0], *axes[1:]]).removeprefix(self.exists(axes)).removeprefix(" & ")
                mask = f"{kept}{index} & {lanes}" if lanes else f"{kept}{index}"
                tile.line(f"tl.store({address}, {self.code(value)}, mask={mask})")

    def write_ends(self, writer: Writer, carried: Mapping[str, str]) -> None:
        """The last states, by the programs of the last piece."""
        with writer.block(f"if {self.at.piece} == {self.at.pieces} - 1:"):
            for name, value in self.scan.starts.items():
                tensor, part = self.of(Role.END, name)
                address = self.memory.address(tensor, value, None, part)
                writer.line(self.memory.store(value, address, Code(carried[name])))
