"""A loop as the text of a Triton kernel that a group of programs runs together, each its own units.

At every position each program stores its part of what products sum over, says so, and waits until all have; it then
reads the whole and multiplies it with its rows of the matrices.  Nothing is ever overwritten, so no one has to say that
it has read.  What the program reads of the next position it reads before it waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lsrl.backends.expressions import Code, infix
from lsrl.backends.group_form import Exchange
from lsrl.backends.group_panels import Panels
from lsrl.backends.group_tiles import GroupTiling
from lsrl.backends.kernel_place import KernelTypes
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.triton_kernel import Kernel, LoopWriter
from lsrl.backends.triton_memory import Role, Tensor, times
from lsrl.backends.writer import Writer
from lsrl.ir.dims import Dim, DimLike
from lsrl.ir.value import Kind, Value, postorder

Moved = list[tuple[str, Tensor]]


def write_group_kernel(
    name: str,
    loop: LoopCell,
    tiles: GroupTiling,
    numbers: Mapping[str, int],
    types: KernelTypes,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> tuple[Kernel, str]:
    """The kernel `name`: what its launch needs to know, and its text.

    Args:
        numbers: the number of every size.
        narrow: values around the loop that are stored in 16 bits.
        reserved: identifiers of the module.
    """
    return _GroupWriter(name, loop, tiles, numbers, types, narrow, tuple(reserved)).write()


class _GroupWriter(LoopWriter):
    """The kernel while it is written."""

    def __init__(
        self,
        name: str,
        loop: LoopCell,
        tiles: GroupTiling,
        numbers: Mapping[str, int],
        types: KernelTypes,
        narrow: frozenset[Value],
        reserved: tuple[str, ...],
    ) -> None:
        super().__init__(name, loop, tiles.tiling, numbers, types, narrow, reserved)
        self.tiles, self.group = tiles, tiles.group
        self.first, self.counter = self.own.fresh("first"), self.own.fresh("p_arrived")
        self.pieces = (self.first,)
        self.shared = {exchange: self._place_of(exchange) for exchange in self.group.exchanges}
        arrived = Tensor(
            self.own.fresh("arrived"), "", Role.ARRIVED, (Dim.of(self.group.meetings),), Kind.INT, narrow=False
        )
        more = (*(tensor for tensor, _ in self.shared.values() if tensor.role is Role.SHARED), arrived)
        self.arrived, self.tensors = arrived, (*self.tensors, *more)
        self.memory = replace(self.memory, tensors={(t.role, t.of): t for t in self.tensors})
        self.panels = Panels(tiles, self.memory, self.names, self.own, self.statements.bind)

    def _place_of(self, exchange: Exchange) -> tuple[Tensor, DimLike]:
        """Where a value is exchanged: in what the loop keeps of every position where it is there, else on its own."""
        for output in self.group.kept:
            if output.value is exchange.source:
                return self.of(Role.KEPT, output.name)
        name, source = str(exchange.whole.attr("name")), exchange.source
        few_bits = self.place.types.narrow
        return Tensor(self.own.fresh(name), name, Role.SHARED, source.shape, source.kind, few_bits), 0

    def write_sequences(self, writer: Writer, count: str, used: frozenset[str]) -> None:
        block = self.blocks[self.tiling.batch.name]
        writer.line(f"i_b = ({self.first} + tl.program_id(0)).to(tl.int64)")
        writer.line(f"o_b = i_b * {block} + tl.arange(0, {block})")
        writer.line(f"m_b = o_b < {count}")

    def loaded_once(self) -> list[Value]:
        matrices = {matrix for panel in self.group.panels for matrix in panel.matrices}
        return [value for value in super().loaded_once() if value not in matrices]

    def write_starts(self, writer: Writer) -> None:
        super().write_starts(writer)
        self.panels.write_starts(writer)

    def write_position(self, pointers: Writer, loop: Writer) -> None:
        self.statements.writer = loop
        moved: Moved = []
        ahead = self._first_reads()
        for value in ahead:
            pointer = self.pointer(pointers, self.tensor(self.form.views[value]), value, self.form.views[value], 0, [])
            self.write_load(pointers, value, self.form.views[value], pointer)
            ahead[value] = pointer
        pointers.line(f"{self.counter} = {self._counter()}")
        following: dict[str, str] = {}
        for level in range(self.group.meetings):
            told = self._write_told(pointers, loop, level, moved)
            at = f"{self.counter} + {level}" if level else self.counter
            loop.line(f"arrive({at})")
            if not level:
                self._write_reads(pointers, loop, ahead, moved)
                following = self._write_ahead(loop, ahead)
            loop.line(f"wait({at}, {self.programs(self.tiles.units, 'tl.')})")
            self.panels.write_products(loop, told)
        self._write_rest(pointers, loop, moved)
        if following:
            loop.line(f"{', '.join(following)} = {', '.join(following.values())}")
        loop.line(f"{self.counter} += {self.group.meetings}")
        self.move_on(loop, moved)

    def _first_reads(self) -> dict[Value, str]:
        """What has to be read before the first exchange of a position."""
        needed = {value for exchange in self.group.at(0) for value in self._cone(exchange)}
        return {v: "" for v in self.form.views if v in needed and not self.form.is_static(v)}

    def _cone(self, exchange: Exchange) -> list[Value]:
        """What an exchanged value is computed from."""
        products = {product for panel in self.group.panels for product in panel.products}
        return list(postorder([exchange.source], stop=lambda v: v in self.form.views or v in products))

    def _counter(self) -> Code:
        """Where the group of programs counts who has arrived at the first position."""
        index = Code("i_b")
        for tile in self.tiling.cut():
            if tile is not self.tiles.units:
                index = infix("+", times(index, Code(self.programs(tile, "tl."))), Code(f"i_{tile.name}"))
        each = times(Code(self.length), Code(str(self.group.meetings)))
        return infix("+", Code(self.arrived.name), times(index, each))

    def _write_told(
        self, pointers: Writer, loop: Writer, level: int, moved: Moved
    ) -> list[tuple[Exchange, str, Tensor]]:
        """What the programs exchange: computed and stored; the pointers to the wholes."""
        exchanges = self.group.at(level)
        cone = dict.fromkeys(v for exchange in exchanges for v in self._cone(exchange) if v.args)
        body = [value for value in self.form.body if value in cone]
        later = {arg for user in self.form.body if user not in cone for arg in user.args}
        roots = {root for root in self.cell.roots() if root in cone}
        self.statements.write(body, (later | roots | {e.source for e in exchanges}) & {*body})
        found = []
        for exchange in exchanges:
            tensor, part = self.shared[exchange]
            own = self.pointer(pointers, tensor, exchange.source, None, part, moved)
            whole = self.pointer(pointers, tensor, exchange.whole, None, part, moved)
            loop.line(self.memory.store(exchange.source, Code(own), self.block(exchange.source)))
            found.append((exchange, whole, tensor))
        return found

    def _write_reads(self, pointers: Writer, loop: Writer, ahead: Mapping[Value, str], moved: Moved) -> None:
        """What the position reads after its first exchange."""
        for value, view in self.form.views.items():
            if not self.form.is_static(value) and value not in ahead:
                pointer = self.pointer(pointers, self.tensor(view), value, view, 0, moved)
                self.write_load(loop, value, view, pointer)

    def _write_ahead(self, loop: Writer, ahead: Mapping[Value, str]) -> dict[str, str]:
        """What the next position reads before its exchange; there the last one reads its own again."""
        if not ahead:
            return {}
        more, sign = self.own.fresh("more"), "-" if self.form.reverse else "+"
        loop.line(f"{more} = tl.where(i_t + 1 < {self.length}, 1, 0)")
        following: dict[str, str] = {}
        for value, pointer in ahead.items():
            tensor, name = self.tensor(self.form.views[value]), self.names[value]
            loop.line(f"{pointer} {sign}= {times(Code(more), self.memory.advance(tensor))}")
            title = name.removeprefix("b_")
            following[name] = f"b_{self.names.fresh(f'{title}_ahead')}"
            self.write_block(loop, following[name], self.memory.load(tensor, value, Code(pointer)), value)
        return following

    def _write_rest(self, pointers: Writer, loop: Writer, moved: Moved) -> None:
        """What remains of the position once everything has been exchanged."""
        nexts = {state.next for state in self.cell.states}
        self.statements.write(self.form.body, ({o.value for o in self.group.kept} | nexts) & {*self.form.body})
        shared = {(tensor, Dim.of(part)) for tensor, part in self.shared.values()}
        for output in self.group.kept:
            tensor, part = self.of(Role.KEPT, output.name)
            if (tensor, Dim.of(part)) not in shared:
                pointer = self.pointer(pointers, tensor, output.value, None, part, moved)
                loop.line(self.memory.store(output.value, Code(pointer), self.block(output.value)))
        self.write_following(loop)
