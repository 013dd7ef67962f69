"""What printing an operation inside of a kernel depends on: tiles, types, masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, call, dim_code, method, subscript
from lsrl.backends.kernel_tiles import Tile, Tiling
from lsrl.ir.dims import Dim
from lsrl.ir.infer import PROMOTION
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class KernelTypes:
    """Types by Triton's names.

    Attributes:
        data: of inputs, params and outputs in memory.
        real: of states and of everything computed.
        dot: of what `tl.dot` multiplies; for bfloat16 an argument of the kernel, since the interpreter cannot.
    """

    data: str
    real: str
    dot: str

    @property
    def narrow(self) -> bool:
        return self.data != self.real

    def of(self, kind: Kind) -> str:
        match kind:
            case Kind.BOOL:
                return "tl.int1"
            case Kind.INT:
                return "tl.int64"
            case _:
                return self.real


DOT = "DOT"
KERNEL_TYPES: Mapping[str, KernelTypes] = {
    "float32": KernelTypes("tl.float32", "tl.float32", "tl.float32"),
    "float64": KernelTypes("tl.float64", "tl.float64", "tl.float64"),
    "bfloat16": KernelTypes("tl.bfloat16", "tl.float32", DOT),
    "float16": KernelTypes("tl.float16", "tl.float32", "tl.float16"),
}


@dataclass(frozen=True, slots=True)
class KernelPlace:
    """A kernel's tiles and types.

    Attributes:
        sizes: the identifier of every size.
        blocks: the identifier of every tile's block size, by the tile's name.
        raw: matrices that are kept in the type they have in memory, since only `tl.dot` uses them.
    """

    tiling: Tiling
    types: KernelTypes
    sizes: Mapping[str, str]
    blocks: Mapping[str, str]
    raw: frozenset[Value]

    def dim(self, dim: Dim) -> Code:
        return dim_code(dim, self.sizes)

    def block_axis(self, value: Value, axis: int) -> int:
        """The place in a value's block of one of its axes, of which the program holds more than one element."""
        tiles = self.tiling.all_tiles(value)
        assert not tiles[axis].single, (value, axis)
        lead = len(self.tiling.axes(value)) - sum(not tile.single for tile in tiles)
        return lead + sum(not tile.single for tile in tiles[:axis])

    def shape(self, axes: Sequence[Tile]) -> str:
        """`[BK, BV]`"""
        return f"[{', '.join(self.blocks[tile.name] for tile in axes)}]"


@dataclass(frozen=True, slots=True)
class Operand:
    """A value as an operand in a kernel.

    Attributes:
        axes: of its block.
        host: it is a number.
    """

    value: Value
    code: Code
    axes: tuple[Tile, ...]
    host: bool = False

    @property
    def kind(self) -> Kind:
        return self.value.kind

    def as_type(self, kind: Kind, types: KernelTypes) -> Operand:
        """This operand with elements of another kind."""
        if self.host:
            return replace(self, code=call("tl.full", "()", self.code, types.of(kind)), host=False)
        if kind is Kind.BOOL:
            return replace(self, code=Code(f"({self.code.at(Code('').binding)} != 0)"))
        return replace(self, code=method(self.code, "to", types.of(kind)))

    def argument(self, kind: Kind, types: KernelTypes) -> Code:
        """The operand of a function: a number that float32 would round is given its type first."""
        if self.host and kind is Kind.FLOAT and types.real == "tl.float64":
            return self.as_type(kind, types).code
        return self.code

    def beside(self, axes: Sequence[Tile]) -> Code:
        """The operand lined up with the axes of an element-wise result."""
        if self.host or not self.axes or len(self.axes) == len(axes):
            return self.code
        return subscript(self.code, _index(self.axes, axes))


def _index(own: Sequence[Tile], axes: Sequence[Tile]) -> str:
    """`:, None`: which of the axes are the operand's own: its last ones, or the sequences of a tile alone."""
    if own == axes[len(axes) - len(own) :]:
        return ", ".join(["None"] * (len(axes) - len(own)) + [":"] * len(own))
    return ", ".join([":"] * len(own) + ["None"] * (len(axes) - len(own)))


Printer = Callable[[Value, Sequence[Operand], KernelPlace], Code]


def promoted(operands: Sequence[Operand], kind: Kind, types: KernelTypes) -> list[Operand]:
    """The operands as elements of one kind; numbers give way to blocks, and where there is no block one is made."""
    found = [_raised(operand, kind, types) for operand in operands]
    if all(operand.host for operand in found):
        return [found[0].as_type(kind, types), *found[1:]]
    return found


def _raised(operand: Operand, kind: Kind, types: KernelTypes) -> Operand:
    if operand.host and operand.kind is Kind.BOOL and kind is not Kind.BOOL:
        return replace(operand, code=Code(str(int(operand.code.text == "True"))))
    enough = PROMOTION.index(operand.kind) >= PROMOTION.index(kind)
    return operand if operand.host or enough else operand.as_type(kind, types)


def lane_mask(axes: Sequence[Tile]) -> str:
    """`m_k[:, None] & m_v[None, :]`: which lanes of a block exist; empty when all do."""
    parts = []
    for place, tile in enumerate(axes):
        if tile.padded:
            others = ["None"] * len(axes)
            others[place] = ":"
            parts.append(f"m_{tile.name}" + (f"[{', '.join(others)}]" if len(axes) > 1 else ""))
    return " & ".join(parts)


def masked(code: Code, axes: Sequence[Tile], gone: Sequence[int], neutral: str) -> Code:
    """The block with `neutral` in the lanes that do not exist along the axes `gone`."""
    kept = [tile if place in gone else replace(tile, block=1) for place, tile in enumerate(axes)]
    mask = lane_mask(kept)
    return call("tl.where", mask, code, neutral) if mask else code
