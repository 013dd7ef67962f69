"""The products of a group's kernel: panels of matrices, kept in shared memory or read chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, call, infix, method, subscript
from lsrl.backends.group_form import Exchange, Panel
from lsrl.backends.group_tiles import GroupTiling
from lsrl.backends.kernel_writer import BlockNames
from lsrl.backends.triton_memory import Identifiers, Memory, Role, Tensor, times
from lsrl.backends.writer import Writer
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of panels of one width: the unit of each, which of the products it is for, and which exist."""

    units: str
    which: str
    mask: str


class Panels:
    """The text of the products of one kernel, while it is written.

    Args:
        own: identifiers of the kernel.
        bind: makes a value known under its name.
    """

    def __init__(
        self,
        tiles: GroupTiling,
        memory: Memory,
        names: BlockNames,
        own: Identifiers,
        bind: Callable[[Value], str],
    ) -> None:
        self.tiles, self.place, self.memory = tiles, memory.place, memory
        self.names, self.own, self.bind = names, own, bind
        self.columns: dict[int, _Columns] = {}
        self.pointers: dict[Panel, str] = {}
        self.blocks: dict[tuple[Panel, int], str] = {}

    def write_starts(self, writer: Writer) -> None:
        """Where the columns of every panel lie; the panels themselves, where they stay."""
        for panel in self.tiles.group.panels:
            if panel.width not in self.columns:
                self.columns[panel.width] = self._write_columns(writer, panel.width)
            self._write_pointers(writer, panel)
            if self.tiles.resident:
                for chunk in range(self.tiles.chunks):
                    title = self.pointers[panel].removeprefix("p_")
                    self.blocks[panel, chunk] = f"b_{self.names.fresh(f'{title}_{chunk}')}"
                    writer.line(f"{self.blocks[panel, chunk]} = {self._matrix(panel, self._from(str(chunk)))}")

    def write_products(self, writer: Writer, exchanges: Sequence[tuple[Exchange, str, Tensor]]) -> None:
        """The products of what has just been exchanged, each with the pointer to it and its tensor."""
        sums = {panel: self._sum(panel) for e, *_ in exchanges for panel in self.tiles.group.panels_of(e)}
        if self.tiles.resident:
            self._write_kept(writer, exchanges, sums)
        else:
            self._write_chunks(writer, exchanges, sums)
        for panel, total in sums.items():
            self._write_dealt(writer, panel, total)

    def _write_kept(
        self, writer: Writer, exchanges: Sequence[tuple[Exchange, str, Tensor]], sums: Mapping[Panel, str]
    ) -> None:
        """Chunk after chunk; wholes are read some chunks ahead of their products."""
        parts = [(*each, chunk) for each in exchanges for chunk in range(self.tiles.chunks)]
        names = [f"b_{self.names.fresh(f'{self._whole(exchange)}_{chunk}')}" for exchange, *_, chunk in parts]

        def write_load(number: int) -> None:
            exchange, pointer, tensor, chunk = parts[number]
            writer.line(f"{names[number]} = {self._part(exchange, pointer, tensor, self._from(str(chunk)))}")

        ahead = self.tiles.ahead
        for number in range(min(ahead, len(parts))):
            write_load(number)
        for number, (exchange, *_, chunk) in enumerate(parts):
            for panel in self.tiles.group.panels_of(exchange):
                before = [sums[panel]] if chunk else []
                writer.line(f"{sums[panel]} = {self._dot(names[number], self.blocks[panel, chunk], before)}")
            if number + ahead < len(parts):
                write_load(number + ahead)

    def _write_chunks(
        self, writer: Writer, exchanges: Sequence[tuple[Exchange, str, Tensor]], sums: Mapping[Panel, str]
    ) -> None:
        """A loop over chunks, whose loads run ahead."""
        block = self.place.blocks[self.tiles.chunk.name]
        for panel, total in sums.items():
            shape = f"[{self.place.blocks['b']}, {self._width(panel)}]"
            writer.line(f"{total} = {call('tl.zeros', shape, self.place.types.real)}")
        counter = f"i_{self.tiles.chunk.name}"
        with writer.block(f"for {counter} in tl.range(tl.cdiv({self._summed}, {block}), num_stages=3):"):
            for exchange, pointer, tensor in exchanges:
                part = self.names[exchange.whole]
                writer.line(f"{part} = {self._part(exchange, pointer, tensor, self._from(counter))}")
                for panel in self.tiles.group.panels_of(exchange):
                    name = self.names[panel.matrices[0]]
                    writer.line(f"{name} = {self._matrix(panel, self._from(counter))}")
                    writer.line(f"{sums[panel]} = {self._dot(part, name, [sums[panel]])}")

    @property
    def _summed(self) -> Code:
        """How much is summed."""
        return self.place.dim(self.tiles.whole.size)

    def _width(self, panel: Panel) -> str:
        units = self.place.blocks[self.tiles.units.name]
        return units if panel.width == 1 else f"{panel.width} * {units}"

    def _from(self, chunk: str) -> Code:
        """Where a chunk begins along what is summed."""
        return times(Code(self.place.blocks[self.tiles.chunk.name]), Code(chunk))

    def _rows(self, start: Code) -> Code:
        """The places of the chunk that begins there."""
        lanes = Code(f"o_{self.tiles.chunk.name}")
        return lanes if start.text == "0" else infix("+", start, lanes)

    def _exist(self, rows: Code) -> Code | None:
        """Which places of a chunk there are; None where all are."""
        padded = self.tiles.whole.number % self.tiles.chunk.block
        return infix("<", rows, self._summed) if padded else None

    def _write_columns(self, writer: Writer, width: int) -> _Columns:
        units = self.tiles.units
        lanes, mask = f"o_{units.name}", f"m_{units.name}" if units.padded else ""
        if width == 1:
            return _Columns(lanes, "", mask)
        wide, which = self.own.fresh(f"{lanes}_{width}"), self.own.fresh(f"w_{units.name}_{width}")
        block = self.place.blocks[units.name]
        span = f"tl.arange(0, {width} * {block})"
        writer.line(f"{wide} = i_{units.name} * {block} + {span} // {width}", "the unit of each column")
        writer.line(f"{which} = {span} % {width}", "which of its products")
        if mask:
            mask = self.own.fresh(f"{mask}_{width}")
            writer.line(f"{mask} = {wide} < {self.place.dim(units.size)}")
        return _Columns(wide, which, mask)

    def _write_pointers(self, writer: Writer, panel: Panel) -> None:
        columns = self.columns[panel.width]
        name = self.own.fresh(f"p_{self._title(panel)}")
        self.pointers[panel] = name
        for number, matrix in enumerate(panel.matrices):
            address = self._address(panel, matrix, Code(columns.units))
            if number:
                address = call("tl.where", infix("==", Code(columns.which), Code(str(number))), address, Code(name))
            writer.line(f"{name} = {address}")

    def _address(self, panel: Panel, matrix: Value, units: Code) -> Code:
        """The first row of a matrix in every column."""
        view = self.tiles.group.form.views[matrix]
        code = Code(self.memory.tensors[Role.STATIC, str(view.base.attr("name"))].name)
        for axis, tile in enumerate(self.place.tiling.all_tiles(matrix)):
            stride = self.place.dim(view.strides[axis])
            if axis == panel.columns:
                code = infix("+", code, times(units, stride))
            elif axis != panel.rows and tile.number > 1:
                code = infix("+", code, times(Code(f"i_{tile.name}"), stride))
        offset = self.place.dim(view.offset)
        return code if offset.text == "0" else infix("+", code, offset)

    def _matrix(self, panel: Panel, start: Code) -> Code:
        """The load of one chunk of a panel, [summed, columns]."""
        columns, rows = self.columns[panel.width], self._rows(start)
        view = self.tiles.group.form.views[panel.matrices[0]]
        along = times(rows, self.place.dim(view.strides[panel.rows]))
        address = infix("+", subscript(Code(self.pointers[panel]), "None, :"), subscript(along, ":, None"))
        masks = [subscript(found, ":, None") for found in [self._exist(rows)] if found is not None]
        masks += [Code(f"{columns.mask}[None, :]")] if columns.mask else []
        masks += [Code(f"({columns.which} < {len(panel.products)})[None, :]")] if self._is_sparse(panel) else []
        return self._loaded(address, masks, self.memory.tensors[Role.STATIC, self._title(panel)])

    def _is_sparse(self, panel: Panel) -> bool:
        """Whether some columns belong to no product."""
        return len(panel.products) < panel.width

    def _loaded(self, address: Code, masks: Sequence[Code], tensor: Tensor, **options: str) -> Code:
        """A factor of products."""
        masked = {"mask": " & ".join(map(str, masks)), "other": "0.0"} if masks else {}
        code, types = call("tl.load", address, **masked, **options), self.place.types
        return code if types.dot == (types.data if tensor.narrow else types.real) else method(code, "to", types.dot)

    def _whole(self, exchange: Exchange) -> str:
        return self.names[exchange.whole].removeprefix("b_")

    def _part(self, exchange: Exchange, pointer: str, tensor: Tensor, start: Code) -> Code:
        """The load of one chunk of what all programs have written, [sequences, summed].

        It comes from the L2 cache, where the stores of other multiprocessors are.
        """
        stride = self.place.dim(self.memory.strides(tensor, None, 0)[0][exchange.summed])
        address = Code(pointer) if start.text == "0" else infix("+", Code(pointer), times(start, stride))
        masks = [Code("m_b[:, None]")]
        masks += [subscript(found, "None, :") for found in [self._exist(self._rows(start))] if found is not None]
        return self._loaded(address, masks, tensor, cache_modifier='".cg"')

    def _dot(self, left: str, right: str, before: Sequence[str]) -> Code:
        options = {"input_precision": '"ieee"'}
        if self.place.types.real == "tl.float64":
            options["out_dtype"] = "tl.float64"
        return call("tl.dot", left, right, *before, **options)

    def _title(self, panel: Panel) -> str:
        """The array where a panel's first matrix lies."""
        return str(self.tiles.group.form.views[panel.matrices[0]].base.attr("name"))

    def _sum(self, panel: Panel) -> str:
        """The name of a panel's products."""
        if panel.width == 1:
            return self.names[panel.products[0]]
        return f"b_{self.names.fresh(f'{self._title(panel)}_products')}"

    def _write_dealt(self, writer: Writer, panel: Panel, total: str) -> None:
        names = [self.bind(product) for product in panel.products]
        if panel.width == 1:
            return
        names += ["_"] * (panel.width - len(names))
        blocks = f"{self.place.blocks['b']}, {self.place.blocks[self.tiles.units.name]}"
        writer.line(f"{', '.join(names)} = dealt_{panel.width}({total}, {blocks})")
