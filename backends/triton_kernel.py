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
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.cell import State
from lsrl.ir.value import Value

__all__ = ["Kernel", "write_kernel"]

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
    check_operations(tiling)
    return _LoopWriter(name, loop, tiling, numbers, types, narrow, tuple(reserved)).write()


class _LoopWriter(KernelWriter):
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
        self._write_starts(starts)
        self._write_loop(pointers, loop)
        self._write_ends(ends)
        body = Writer(depth=1)
        self._write_offsets(body, identifiers(f"{starts}{pointers}{ends}") | identifiers(str(loop)))
        for section in (starts, pointers):
            body.blank()
            body.append(section)
        with body.block(f"for _ in range({self.length}):"):
            pass
        body.append(loop)
        body.append(ends)
        return self.assembled(body)

    def _write_offsets(self, writer: Writer, used: set[str]) -> None:
        """Which program this is, and which elements it holds."""
        batch, cut = self.tiling.batch, self.tiling.cut()
        if batch.single:
            writer.line("i_b = tl.program_id(0).to(tl.int64)")
        else:
            block = self.blocks[batch.name]
            writer.line(f"o_b = tl.program_id(0).to(tl.int64) * {block} + tl.arange(0, {block})")
            writer.line(f"m_b = o_b < {self.batch}")
        for line in self.program_lines(cut):
            writer.line(line)
        masks = list(self.memory.mask_lines())
        wanted = used | identifiers("\n".join(masks))
        self.write_lanes(writer, wanted)
        writer.lines(masks)

    def _write_starts(self, writer: Writer) -> None:
        """What stays the same, and the states before the first position."""
        for value, view in self.form.views.items():
            if self.form.is_static(value) and self.tiling.keeps(value):
                self.write_load(writer, value, view)
        for state in self.cell.states:
            tensor, part = self.of(Role.START, state.name)
            value = self.arriving[state.name]
            address = self.memory.address(tensor, value, None, part)
            self.write_block(writer, self.carried[state.name], self.memory.load(tensor, value, address), value)
            if value.op == "state":
                self.statements.bind(value)

    def _write_loop(self, pointers: Writer, loop: Writer) -> None:
        """One position; pointers are set up before the loop and moved on at its end."""
        moved: Moved = []
        for value, view in self.form.views.items():
            if not self.form.is_static(value):
                pointer = self._pointer(pointers, self.tensor(view), value, view, 0, moved)
                self.write_load(loop, value, view, pointer)
        self.statements.writer = loop
        nexts = {state.next for state in self.cell.states}
        body = set(self.form.body)
        self.statements.write(self.form.body, ({o.value for o in self.cell.outputs} | nexts) & body)
        for output in self.cell.outputs:
            tensor, part = self.of(Role.KEPT, output.name)
            pointer = self._pointer(pointers, tensor, output.value, None, part, moved)
            block = self._whole(output.value)
            loop.line(self.memory.store(output.value, Code(pointer), block))
        following = [str(self._next(state)) for state in self.cell.states]
        loop.line(f"{', '.join(self.carried.values())} = {', '.join(following)}")
        sign = "-" if self.form.reverse else "+"
        loop.lines(f"{pointer} {sign}= {self.memory.advance(tensor)}" for pointer, tensor in moved)

    def _pointer(self, writer: Writer, tensor: Tensor, value: Value, view: View | None, part: int, moved: Moved) -> str:
        pointer = self.own.fresh(f"p_{self.names[value].removeprefix('b_')}")
        writer.line(f"{pointer} = {self.memory.address(tensor, value, view, part)}")
        moved.append((pointer, tensor))
        return pointer

    def _whole(self, value: Value) -> Code:
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

    def _write_ends(self, writer: Writer) -> None:
        for state in self.cell.states:
            tensor, part = self.of(Role.END, state.name)
            value = self.arriving[state.name]
            address = self.memory.address(tensor, value, None, part)
            writer.line(self.memory.store(value, address, Code(self.carried[state.name])))
