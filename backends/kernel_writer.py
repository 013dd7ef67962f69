"""What every kernel's text is made of: names, tiles, operands, loads, and the frame of its function.

Names follow flash-linear-attention: `i_` program index, `o_` places along an axis, `m_` which lanes exist,
`p_` pointer, `b_` a block in registers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite

from lsrl.backends.expressions import Code, number
from lsrl.backends.host_numbers import HostNumber, Number, host_number
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_form import KernelForm, NoKernel, View
from lsrl.backends.kernel_layout import thinly
from lsrl.backends.kernel_ops import PRINTERS
from lsrl.backends.kernel_place import KernelPlace, KernelTypes, Operand
from lsrl.backends.kernel_tiles import MOST_STAGES, Tile, Tiling
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.naming import Names
from lsrl.backends.statements import Statements, Target
from lsrl.backends.thin import thin_values
from lsrl.backends.triton_memory import Identifiers, Memory, Role, Tensor, tensors_of
from lsrl.backends.writer import WIDTH, Writer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import DimLike
from lsrl.ir.value import Value

LENGTH, BATCH = "T", "B"


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a launch needs to know of a kernel.

    Attributes:
        tensors: its arguments in order.
        length, batch: its arguments for the numbers of positions and of sequences, where it has them.
        pieces: further ones that are numbers: how many pieces time is cut into, and of how many positions each, or the
            first tile of sequences that it runs.
        sizes: the sizes that it takes as constants, by the names of its arguments.
        blocks: its block sizes, by the names of its arguments.
        every: its argument for how many positions lie between two of which it keeps the arriving states (0: it keeps
            none), where it has one.
        dots: its argument for the type of what `tl.dot` multiplies, where it has one.
        stages: of how many positions what is read may lie in shared memory at once.
        grid: how many programs there are along each axis of the grid, as expressions.
    """

    name: str
    tensors: tuple[Tensor, ...]
    length: str | None
    batch: str | None
    sizes: tuple[str, ...]
    blocks: Mapping[str, int]
    dots: str | None
    grid: tuple[str, ...]
    warps: int
    pieces: tuple[str, ...] = ()
    every: str | None = None
    stages: int = MOST_STAGES


def check_operations(form: KernelForm) -> None:
    """Refuse what a kernel cannot compute.

    Raises:
        NoKernel: names the operation and its line.
    """
    unknown = [value for value in form.body if value.op not in PRINTERS]
    if unknown:
        places = form.cell.spans.get(unknown[0], ())
        where = f" in line {places[0].line}" if places else ""
        raise NoKernel(f"`{unknown[0].op}`{where} has no form in a kernel")


def _literal(value: Number) -> Code:
    """A number as kernels know it: they have no module `math`."""
    if isinstance(value, float) and not isfinite(value):
        return Code(f'float("{value}")')
    return number(value)


class BlockNames(Names):
    """Identifiers of blocks: `b_h`."""

    def __getitem__(self, value: Value) -> str:
        return f"b_{super().__getitem__(value)}"


class BlockStatements(Statements):
    """Statements on blocks, which nothing splits."""

    def pieces(self, value: Value) -> tuple[Value, ...]:
        return ()


class KernelWriter:
    """A kernel while it is written; `sequences` is how many of them programs share among each other."""

    sequences = "batch"

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
        self.name, self.tiling, self.form, self.numbers = name, tiling, tiling.form, numbers
        self.cell: Cell = tiling.form.cell
        sizes = Names(self.cell, reserved).sizes
        tiles = [tile for tile in (tiling.batch, *tiling.tiles.values()) if not tile.single]
        lanes = [f"{prefix}_{tile.name}" for tile in (tiling.batch, *tiling.tiles.values()) for prefix in "iom"]
        self.own = Identifiers([*reserved, *sizes.values(), *lanes])
        self.blocks = {tile.name: self.own.fresh(f"B{tile.name.upper()}") for tile in tiles}
        self.length, self.batch = self.own.fresh(LENGTH), self.own.fresh(BATCH)
        self.every = self.own.fresh("EVERY")
        self.pieces: tuple[str, ...] = ()
        bases = (view.base for view in self.form.views.values())
        self.tensors = tensors_of(loop, bases, narrow, types.narrow, self.own)
        taken = [tensor.name.removeprefix("b_") for tensor in self.tensors if tensor.name.startswith("b_")]
        self.names = BlockNames(self.cell, [*reserved, *taken])
        self.place = KernelPlace(tiling, types, sizes, self.blocks, self.raw(types))
        by_role = {(tensor.role, tensor.of): tensor for tensor in self.tensors}
        self.memory = Memory(self.place, by_role, {}, self.own, self.length, self.form.reverse, self.own.fresh("P"))
        self.thin = thin_values(tuple(self.cell.roots()), tuple(self.cell.roots()))
        self.statements = self.new_statements(Writer(depth=2))

    def raw(self, types: KernelTypes) -> frozenset[Value]:
        """Matrices of 16 bits that only products by `tl.dot` use."""
        if not types.narrow:
            return frozenset()
        statics = [v for v in self.form.views if self.form.is_static(v)]
        users = {v: [user for user in self.form.body if v in user.args] for v in statics}
        return frozenset(v for v, found in users.items() if found and all(u in self.tiling.dots for u in found))

    def new_statements(self, writer: Writer) -> BlockStatements:
        def express(value: Value, codes: Mapping[Value, Code]) -> Code:
            operands = [self.operand(arg, codes) for arg in value.args]
            if value in self.thin:
                return thinly(value, operands[0], self.place)
            return PRINTERS[value.op](value, operands, self.place)

        def nothing(value: Value, code: Code, axis: int, sizes: object) -> Code:
            raise AssertionError("blocks are not split")

        target = Target(lambda v: self.number(v) is not None, lambda v: v in self.thin, express, self.remark, nothing)
        return BlockStatements(self.cell, self.names, writer, target)

    def number(self, value: Value) -> HostNumber | None:
        """The value as a number known here, if it is one, or one repeated that needs no block."""
        scalar = value.args[0] if value in self.thin else value
        return host_number(scalar, self.numbers, self.place.sizes)

    def operand(self, value: Value, codes: Mapping[Value, Code]) -> Operand:
        host = self.number(value)
        if host is not None:
            plain = "math." not in host.code.text and "float(" not in host.code.text
            return Operand(value, host.code if plain else _literal(host.number), (), host=True)
        if value not in codes and value in self.form.views:
            # Next to large matrices arrays are read right before their use: all at once they would not fit.
            self.write_load(self.statements.writer, value, self.form.views[value])
        if value in codes:
            return Operand(value, codes[value], self.tiling.axes(value))
        if value.op == "iota":
            (tile,) = self.tiling.all_tiles(value)
            lanes = Code(f"i_{tile.name}" if tile.single else f"o_{tile.name}")
            return Operand(value, lanes, self.tiling.axes(value)).as_type(value.kind, self.place.types)
        raise NoKernel(f"a constant array of shape {list(map(str, value.shape))}")

    def remark(self, value: Value) -> str:
        axes = self.tiling.axes(value)
        return self.place.shape(axes) if len(axes) > 1 and value.op in ("einsum", "expand", "concat") else ""

    def write_load(self, writer: Writer, value: Value, view: View, pointer: str = "") -> None:
        tensor = self.tensor(view)
        address = Code(pointer) if pointer else self.memory.address(tensor, value, view)
        self.write_block(writer, self.statements.bind(value), self.memory.load(tensor, value, address), value)

    def write_block(self, writer: Writer, name: str, load: Code, value: Value) -> None:
        """A load, with the block's shape where there is room."""
        axes = self.tiling.axes(value)
        shape = self.place.shape(axes) if axes else ""
        text = f"{name} = {load}"
        writer.line(text, shape if len(text) + len(shape) + 12 <= WIDTH else "")

    def tensor(self, view: View) -> Tensor:
        role = Role.READ if view.base.op == "input" else Role.STATIC
        return self.memory.tensors[role, str(view.base.attr("name"))]

    def of(self, role: Role, name: str) -> tuple[Tensor, DimLike]:
        """The tensor of a state or output, and the offset of its first element."""
        whole, part = self.form.parts.get(name, (name, 0))
        return self.memory.tensors[role, whole], part

    def program_lines(self, cut: tuple[Tile, ...]) -> list[str]:
        """Places in the grid; what does not fit its three axes shares the last."""
        lines = [f"i_{tile.name} = tl.program_id({place})" for place, tile in enumerate(cut[:2], start=1)]
        if len(cut) > 2:
            lines = [lines[0], "i_rest = tl.program_id(2)"]
            for tile in cut[:1:-1]:
                count = self.programs(tile, "tl.")
                lines += [f"i_{tile.name} = i_rest % {count}", f"i_rest = i_rest // {count}"]
            lines.append(f"i_{cut[1].name} = i_rest")
        return lines

    def write_lanes(self, writer: Writer, wanted: Collection[str]) -> None:
        """Which elements of each axis the program holds, and which of them there are, as far as that is wanted."""
        cut = self.tiling.cut()
        for tile in self.tiling.tiles.values():
            if tile.single or not {f"o_{tile.name}", f"m_{tile.name}"} & set(wanted):
                continue
            block = self.blocks[tile.name]
            first = f"i_{tile.name} * {block} + " if tile in cut else ""
            writer.line(f"o_{tile.name} = {first}tl.arange(0, {block})")
            if f"m_{tile.name}" in wanted:
                writer.line(f"m_{tile.name} = o_{tile.name} < {self.place.dim(tile.size)}")

    def assembled(self, body: Writer) -> tuple[Kernel, str]:
        used = identifiers(str(body))
        dots = self.place.types.dot if self.place.types.dot in used else None
        sizes = tuple(name for name in self.place.sizes.values() if name in used)
        tiles = [tile for tile in (self.tiling.batch, *self.tiling.tiles.values()) if tile.name in self.blocks]
        blocks = {self.blocks[tile.name]: tile.block for tile in tiles if self.blocks[tile.name] in used}
        tensors = tuple(tensor for tensor in self.tensors if tensor.name in used)
        length, batch = (name if name in used else None for name in (self.length, self.batch))
        pieces = tuple(name for name in self.pieces if name in used)
        scalars = [name for name in (length, batch, *pieces) if name]
        writer = Writer()
        keep = ", ".join(f'"{name}"' for name in scalars)
        writer.line(f"@triton.jit(do_not_specialize=[{keep}])")
        writer.text(f"def {self.name}(")
        for tensor in tensors:
            writer.text(f"    {tensor.name},  # {self.tensor_remark(tensor)}")
        every = self.every if self.every in used else None
        constants = (*sizes, *blocks, *(name for name in (dots, every) if name))
        writer.lines(f"    {name}," for name in scalars)
        writer.lines(f"    {name}: tl.constexpr," for name in constants)
        writer.text("):")
        writer.append(body)
        grid = self.grid()
        warps = self.tiling.warps
        kernel = Kernel(
            self.name, tensors, length, batch, sizes, blocks, dots, grid, warps, pieces, every, self.tiling.stages
        )
        return kernel, str(writer)

    def tensor_remark(self, tensor: Tensor) -> str:
        """What a tensor is, for its line among the arguments."""
        return tensor.remark

    def grid(self) -> tuple[str, ...]:
        many = self.sequences
        sequences = many if self.tiling.batch.single else f"triton.cdiv({many}, {self.tiling.batch.block})"
        counts = [self.programs(tile, "triton.") for tile in self.tiling.cut()]
        if len(counts) > 2:
            counts = [counts[0], " * ".join(counts[1:])]
        return (sequences, *counts)

    def programs(self, tile: Tile, library: str) -> str:
        size = self.place.dim(tile.size)
        if tile.block == 1:
            return str(size)
        block = tile.block if library == "triton." else self.blocks[tile.name]
        return f"{library}cdiv({size}, {block})"
