"""A loop as the text of a Triton kernel that runs over time, its states in registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lsrl.backends.expressions import Code, call, subscript
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_form import View
from lsrl.backends.kernel_place import KernelTypes
from lsrl.backends.kernel_tiles import Tiling
from lsrl.backends.kernel_writer import Kernel, KernelWriter, check_operations
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.naming import identifier
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.cell import State
from lsrl.ir.dims import DimLike
from lsrl.ir.value import Value

__all__ = ["Kernel", "LoopWriter", "write_kernel"]

Moved = list[tuple[str, Tensor]]


def write_kernel(
    name: str,
    loop: LoopCell,
    tiling: Tiling,
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

    Raises:
        NoKernel: an operation that kernels do not know.
    """
    check_operations(tiling.form)
    return LoopWriter(name, loop, tiling, numbers, types, narrow, tuple(reserved)).write()


class LoopWriter(KernelWriter):
    """A kernel that runs one position after the other."""

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
        arriving = self.form.arriving()
        self.arriving = {s.name: arriving.get(s.name, s.next) for s in self.cell.states}
        self.carried = {
            s.name: self.names[arriving[s.name]] if s.name in arriving else f"b_{self.names.fresh(s.name)}"
            for s in self.cell.states
        }

    # The text, from the inside out.

    def write(self) -> tuple[Kernel, str]:
        starts, pointers, loop, ends = (Writer(depth=depth) for depth in (1, 1, 2, 1))
        self.write_starts(starts)
        saved = self._saved()
        if saved:
            self._write_saves(pointers, loop, saved)
        self.write_position(pointers, loop)
        self.write_ends(ends)
        body = Writer(depth=1)
        self.write_offsets(body, identifiers(f"{starts}{pointers}{ends}") | identifiers(str(loop)))
        for section in (starts, pointers):
            body.blank()
            body.append(section)
        counter = "i_t" if "i_t" in identifiers(str(loop)) else "_"
        with body.block(f"for {counter} in range({self.length}):"):
            pass
        body.append(loop)
        body.append(ends)
        return self.assembled(body)

    def write_offsets(self, writer: Writer, used: frozenset[str]) -> None:
        """Which program this is, and which elements it holds."""
        self.write_sequences(writer, self.batch, used)
        for line in self.program_lines(self.tiling.cut()):
            writer.line(line)
        masks = list(self.memory.mask_lines())
        wanted = used | identifiers("\n".join(masks))
        self.write_lanes(writer, wanted)
        writer.lines(masks)

    def write_starts(self, writer: Writer) -> None:
        """What stays the same, and the states before the first position."""
        for value in self.loaded_once():
            self.write_load(writer, value, self.form.views[value])
        for state in self.cell.states:
            tensor, part = self.of(Role.START, state.name)
            value = self.arriving[state.name]
            address = self.memory.address(tensor, value, None, part)
            self.write_block(writer, self.carried[state.name], self.memory.load(tensor, value, address), value)
            if value.op == "state":
                self.statements.bind(value)

    def loaded_once(self) -> list[Value]:
        """What lies in registers from the start."""
        return [value for value in self.form.views if self.form.is_static(value) and self.tiling.keeps(value)]

    def write_sequences(self, writer: Writer, count: str, used: frozenset[str]) -> None:
        """Which of `count` sequences the program runs."""
        batch = self.tiling.batch
        if batch.single:
            writer.line("i_b = tl.program_id(0).to(tl.int64)")
        else:
            block = self.blocks[batch.name]
            writer.line(f"o_b = tl.program_id(0).to(tl.int64) * {block} + tl.arange(0, {block})")
            writer.line(f"m_b = o_b < {count}")

    def write_position(self, pointers: Writer, loop: Writer) -> None:
        """One position; pointers are set up before the loop and moved on at its end."""
        moved: Moved = []
        for value, view in self.form.views.items():
            if not self.form.is_static(value):
                pointer = self.pointer(pointers, self.tensor(view), value, view, 0, moved)
                self.write_load(loop, value, view, pointer)
        self.statements.writer = loop
        nexts = {state.next for state in self.cell.states}
        body = set(self.form.body)
        self.statements.write(self.form.body, ({o.value for o in self.cell.outputs} | nexts) & body)
        for output in self.cell.outputs:
            tensor, part = self.of(Role.KEPT, output.name)
            pointer = self.pointer(pointers, tensor, output.value, None, part, moved)
            block = self.block(output.value)
            loop.line(self.memory.store(output.value, Code(pointer), block))
        self.write_following(loop)
        self.move_on(loop, moved)

    def write_following(self, writer: Writer) -> None:
        """States, as the next position has them."""
        following = [str(self._next(state)) for state in self.cell.states]
        writer.line(f"{', '.join(self.carried.values())} = {', '.join(following)}")

    def move_on(self, writer: Writer, moved: Moved) -> None:
        """Pointers, from one position to the next."""
        sign = "-" if self.form.reverse else "+"
        writer.lines(f"{pointer} {sign}= {self.memory.advance(tensor)}" for pointer, tensor in moved)

    def _saved(self) -> list[tuple[State, Tensor, DimLike]]:
        """The states that are kept now and then, the tensor of each, and the offset of its first element."""
        found = [(state, *self.form.parts.get(state.name, (state.name, 0))) for state in self.cell.states]
        tensors = self.memory.tensors
        return [(s, tensors[Role.SAVED, whole], part) for s, whole, part in found if (Role.SAVED, whole) in tensors]

    def _write_saves(self, pointers: Writer, loop: Writer, saved: list[tuple[State, Tensor, DimLike]]) -> None:
        """Arriving states of positions some way apart."""
        names = {state.name: self.own.fresh(f"p_{identifier(state.name)}_saved") for state, _, _ in saved}
        with pointers.block(f"if {self.every}:"):
            pointers.line(f"{self.memory.saves} = tl.cdiv({self.length}, {self.every})")
            for state, tensor, part in saved:
                address = self.memory.address(tensor, self.arriving[state.name], None, part)
                pointers.line(f"{names[state.name]} = {address}")
        sign = "-" if self.form.reverse else "+"
        with loop.block(f"if {self.every}:"), loop.block(f"if i_t % {self.every} == 0:"):
            for state, tensor, _ in saved:
                pointer, block = Code(names[state.name]), Code(self.carried[state.name])
                loop.line(self.memory.store(self.arriving[state.name], pointer, block))
                loop.line(f"{pointer} {sign}= {self.memory.advance(tensor)}")

    def pointer(
        self, writer: Writer, tensor: Tensor, value: Value, view: View | None, part: DimLike, moved: Moved
    ) -> str:
        pointer = self.own.fresh(f"p_{self.names[value].removeprefix('b_')}")
        writer.line(f"{pointer} = {self.memory.address(tensor, value, view, part)}")
        moved.append((pointer, tensor))
        return pointer

    def block(self, value: Value) -> Code:
        return self.operand(value, self.statements.codes).code

    def _next(self, state: State) -> Code:
        """What a state becomes, as a block of the state's own shape."""
        value = self.arriving[state.name]
        axes = self.tiling.axes(value)
        operand = self.operand(state.next, self.statements.codes)
        if operand.host:
            return call("tl.full", self.place.shape(axes), operand.code, self.place.types.of(state.kind))
        if len(operand.axes) == len(axes):
            return operand.code
        lined_up = ", ".join(["None", *[":"] * len(operand.axes)])
        spread = subscript(operand.code, lined_up) if operand.axes else operand.code
        return call("tl.broadcast_to", spread, self.place.shape(axes))

    def write_ends(self, writer: Writer) -> None:
        for state in self.cell.states:
            tensor, part = self.of(Role.END, state.name)
            value = self.arriving[state.name]
            address = self.memory.address(tensor, value, None, part)
            writer.line(self.memory.store(value, address, Code(self.carried[state.name])))
