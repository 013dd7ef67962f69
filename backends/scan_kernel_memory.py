"""Where a tile of positions lies in memory: a pointer to its first position, and offsets that all tiles share.

Pointers are scalars that move from tile to tile, so a program keeps no block of addresses.  A loop that runs from the
end counts its positions from there: only signs of offsets differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lsrl.backends.expressions import Binding, Code, infix
from lsrl.backends.kernel_form import View
from lsrl.backends.kernel_tiles import Tile
from lsrl.backends.scan_kernel_tiles import TIME
from lsrl.backends.triton_memory import Memory, Role, Tensor, times
from lsrl.ir.dims import Dim, DimLike
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Places:
    """Identifiers of where a program is.

    Attributes:
        sequence, piece: its indices.
        first, last: of its positions, in the order of computation; `last` lies one behind.
        pieces, size: arguments: into how many pieces time is cut, and how many positions one has.
    """

    sequence: str
    piece: str
    first: str
    last: str
    pieces: str
    size: str


@dataclass(frozen=True, slots=True)
class ScanMemory(Memory):
    """Addresses, loads and stores of a kernel over tiles of positions.

    Attributes:
        at: where the program is.
    """

    at: Places = field(kw_only=True)

    def pointer(self, tensor: Tensor, value: Value, view: View | None, part: DimLike = 0) -> Code:
        """The program's first position, without the lanes of its blocks."""
        strides, offset = self.strides(tensor, view, part)
        position = infix("*", Code(self.at.sequence), Code(self.length))
        if self.reverse:
            position = infix("+", position, infix("-", Code(self.length), Code("1")))
        if self.at.first != "0":
            position = infix("-" if self.reverse else "+", position, Code(self.at.first))
        code = infix("+", Code(tensor.name), times(position, self.place.dim(tensor.row)))
        for axis, tile in enumerate(self.place.tiling.all_tiles(value)):
            if tile.single and tile.number > 1:
                code = infix("+", code, times(Code(f"i_{tile.name}"), self.place.dim(strides[axis])))
        return infix("+", code, self.place.dim(offset)) if offset != Dim.of(0) else code

    def within(self, pointer: str, tensor: Tensor, value: Value, view: View | None, part: DimLike = 0) -> Code:
        """The addresses of a tile's block of a value that differs from position to position."""
        strides, _ = self.strides(tensor, view, part)
        axes = self.place.tiling.axes(value)
        time = times(self.lanes(axes, 0), self.place.dim(tensor.row))
        code = infix("-" if self.reverse else "+", Code(pointer), time)
        for axis, tile in enumerate(self.place.tiling.all_tiles(value)):
            if not tile.single:
                lanes = self.lanes(axes, self.place.block_axis(value, axis))
                code = infix("+", code, times(lanes, self.place.dim(strides[axis])))
        return code

    def saved(self, tensor: Tensor, value: Value, part: DimLike, axes: Sequence[Tile], place: Code) -> Code:
        """The addresses of arriving states that are kept.

        Args:
            value: the stand-in of the state at the start.
            axes: of the block.
            place: how many are kept before it, in the order of computation.
        """
        strides, offset = self.strides(tensor, None, part)
        first = infix("*", Code(self.at.sequence), Code(self.saves))
        if self.reverse:
            first = infix("+", first, Code(f"{self.saves} - 1", Binding.SUM))
        if place.text != "0":
            first = infix("-" if self.reverse else "+", first, place)
        code = infix("+", Code(tensor.name), times(first, self.place.dim(tensor.row)))
        tiles = self.place.tiling.all_tiles(value)
        at = len(axes) - sum(not tile.single for tile in tiles)  # two axes of a square state are one tile
        for axis, tile in enumerate(tiles):
            stride = self.place.dim(strides[axis])
            if not tile.single:
                code = infix("+", code, times(self.lanes(axes, at), stride))
                at += 1
            elif tile.number > 1:
                code = infix("+", code, times(Code(f"i_{tile.name}"), stride))
        return infix("+", code, self.place.dim(offset)) if offset != Dim.of(0) else code

    def lead(self, tensor: Tensor, value: Value) -> Code | None:
        """The start of the program's sequence, or of its piece of one."""
        match tensor.role:
            case Role.STATIC:
                return None
            case Role.BEGIN | Role.PIECE:
                place = infix("+", infix("*", Code(self.at.sequence), Code(self.at.pieces)), Code(self.at.piece))
                return times(place, self.place.dim(tensor.row))
            case _:
                return times(Code(self.at.sequence), self.place.dim(tensor.row))

    def fixed_masks(self) -> Iterable[str]:
        """The definitions of masks that hold for all tiles."""
        return (line for key, line in self.mask_table() if TIME not in key)

    def tile_masks(self) -> Iterable[str]:
        """The definitions of masks that differ from tile to tile."""
        return (line for key, line in self.mask_table() if TIME in key)
