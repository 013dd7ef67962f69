"""A kernel over tiles of positions, whatever it does with them: loads, pointers, rows and the frame of the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lsrl.backends.expressions import Code, call, infix
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_place import KernelTypes, lane_mask
from lsrl.backends.kernel_tiles import Tile, Tiling
from lsrl.backends.kernel_writer import Kernel, KernelWriter
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel_memory import Places, ScanMemory
from lsrl.backends.scan_kernel_tiles import TIME
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.value import Value, postorder


def in_front(tensors: Sequence[Tensor], new: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The new ones before those that are written."""
    written = [tensor for tensor in tensors if tensor.role in (Role.KEPT, Role.END, Role.SAVED)]
    return (*(tensor for tensor in tensors if tensor not in written), *new, *written)


class TileWriter(KernelWriter, ABC):
    """A kernel over tiles of positions while it is written."""

    def __init__(
        self,
        name: str,
        loop: LoopCell,
        tiling: Tiling,
        numbers: Mapping[str, int],
        types: KernelTypes,
        narrow: frozenset[Value],
        reserved: tuple[str, ...],
    ) -> None:
        super().__init__(name, loop, tiling, numbers, types, narrow, reserved)
        self.loop = loop
        self.at = self.new_places()
        self.tensors = self.all_tensors()
        by_role = {(tensor.role, tensor.of): tensor for tensor in self.tensors}
        saves, reverse = self.memory.saves, self.form.reverse
        self.over_time = ScanMemory(self.place, by_role, {}, self.own, self.length, reverse, saves, at=self.at)
        self.memory = self.over_time
        self.moved: list[tuple[str, Tensor]] = []

    @abstractmethod
    def new_places(self) -> Places:
        """Where the program is."""

    def all_tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the loop, and what the kernel has beside them."""
        return self.tensors

    @abstractmethod
    def write_places(self, writer: Writer, used: frozenset[str]) -> None:
        """Which program this is, and which positions and lanes it holds."""

    @property
    def block(self) -> str:
        """The number of positions of a tile."""
        return self.blocks[TIME]

    @property
    def body(self) -> frozenset[Value]:
        return frozenset(self.form.body)

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
