"""A step of a recurrence over a grid as the text of a Triton kernel that runs one wave.

States lie in memory as rows, what arrives at the edge of the grid and behind it every place, both by wave.  A table for
each axis says which row arrives at a place; the launches of the waves before have written it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lsrl.backends.expressions import Code, subscript
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_place import KernelTypes
from lsrl.backends.kernel_tiles import Tiling
from lsrl.backends.kernel_writer import Kernel, check_operations
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.triton_kernel import LoopWriter, Moved
from lsrl.backends.triton_memory import Memory, Role, Tensor, times
from lsrl.backends.writer import Writer
from lsrl.ir.value import Kind, Value

_LEADS: Mapping[Role, tuple[str, ...]] = {
    Role.READ: ("B", "places"),
    Role.KEPT: ("B", "places"),
    Role.STATIC: (),
    Role.TABLE: ("places",),
}
_WORDS = {Role.START: "read", Role.END: "the same, written"}


def write_wave_kernel(
    name: str,
    loop: LoopCell,
    tiling: Tiling,
    numbers: Mapping[str, int],
    types: KernelTypes,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> tuple[Kernel, str]:
    """The kernel `name`, as `write_kernel` does for loops over time; `Kernel.pieces` are, in order, its arguments for
    the first place of a wave, for how many there are, and for the number of rows of each axis.

    Raises:
        NoKernel: an operation that kernels do not know.
    """
    check_operations(tiling.form)
    return _WaveWriter(name, loop, tiling, numbers, types, narrow, tuple(reserved)).write()


@dataclass(frozen=True, slots=True)
class _Rows:
    """The variables of a program's rows.

    Attributes:
        place: of inputs and outputs.
        arriving, following: of states along each axis.
        axes: the axis of each state.
    """

    place: str
    arriving: Mapping[str, str]
    following: Mapping[str, str]
    axes: Mapping[str, str]

    def of(self, tensor: Tensor) -> str:
        match tensor.role:
            case Role.START:
                return self.arriving[self.axes[tensor.of]]
            case Role.END:
                return self.following[self.axes[tensor.of]]
            case _:
                return self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class _WaveMemory(Memory):
    """Tensors whose rows are places."""

    rows: _Rows

    def lead(self, tensor: Tensor, value: Value) -> Code | None:
        """The start of the program's row."""
        if tensor.role is Role.STATIC:
            return None
        row, axes = Code(self.rows.of(tensor)), self.place.tiling.axes(value)
        if not self.place.tiling.batch.single and len(axes) > 1:
            row = subscript(row, ", ".join([":", *["None"] * (len(axes) - 1)]))
        return times(row, self.place.dim(tensor.row))


class _WaveWriter(LoopWriter):
    """A kernel that runs one wave."""

    sequences = "batch * lanes"

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
        own, prefix = self.own, "i" if tiling.batch.single else "o"
        axes = {state.name: state.axes[0] for state in loop.cell.states}
        used = [axis for axis in loop.cell.axes if axis in axes.values()]
        self.length = own.fresh("PLACES")
        self.first, self.count = own.fresh("FIRST"), own.fresh("COUNT")
        self.behind = {axis: own.fresh(f"ROWS_{axis}") for axis in used}
        self.pieces = (self.first, self.count, *self.behind.values())
        self.sequence, self.at = own.fresh(f"{prefix}_sequence"), own.fresh(f"{prefix}_place")
        tables = {axis: Tensor(own.fresh(f"from_{axis}"), axis, Role.TABLE, (), Kind.INT, False) for axis in used}
        self.tensors = (*self.tensors, *tables.values())
        arriving = {axis: own.fresh(f"{prefix}_from_{axis}") for axis in used}
        following = {axis: own.fresh(f"{prefix}_to_{axis}") for axis in used}
        self.rows = _Rows(own.fresh(f"{prefix}_row"), arriving, following, axes)
        known = {(tensor.role, tensor.of): tensor for tensor in self.tensors}
        self.memory = _WaveMemory(self.place, known, {}, own, self.length, False, rows=self.rows)

    def write(self) -> tuple[Kernel, str]:
        body = Writer(depth=1)
        starts, step, ends = (Writer(depth=1) for _ in range(3))
        self.write_starts(starts)
        self.write_position(step, step)
        self.write_ends(ends)
        self.write_offsets(body, identifiers(f"{starts}{step}{ends}"))
        for section in (starts, step, ends):
            body.blank()
            body.append(section)
        return self.assembled(body)

    def write_sequences(self, writer: Writer, count: str, used: frozenset[str]) -> None:
        """Which places of which grids the program runs, and the rows of these."""
        super().write_sequences(writer, f"{count} * {self.count}", used)
        lanes, mask = ("i_b", "") if self.tiling.batch.single else ("o_b", ", mask=m_b, other=0")
        writer.line(f"{self.sequence} = {lanes} // {self.count}")
        writer.line(f"{self.at} = {self.first} + {lanes} % {self.count}")
        writer.line(f"{self.rows.place} = {self.sequence} * {self.length} + {self.at}")
        for axis, rows in self.behind.items():
            table = self.memory.tensors[Role.TABLE, axis].name
            row = f"{self.sequence} * {rows}"
            writer.line(f"{self.rows.arriving[axis]} = {row} + tl.load({table} + {self.at}{mask})")
            writer.line(f"{self.rows.following[axis]} = {row} + {rows} - {self.length} + {self.at}")

    def move_on(self, writer: Writer, moved: Moved) -> None:
        """There is no other place after this one."""

    def tensor_remark(self, tensor: Tensor) -> str:
        return tensor.described(_LEADS.get(tensor.role, ("B", "rows")), _WORDS.get(tensor.role, str(tensor.role)))
