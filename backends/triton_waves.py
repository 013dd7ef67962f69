"""The launches of a loop over a grid: its kernel once for each wave, on states that lie by wave in memory."""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.backends.triton_launch import Launch, as_pairs, contiguous
from lsrl.backends.triton_memory import Identifiers, Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.cell import State
from lsrl.ir.schedules.how import Dag


def write_wave_launch(launch: Launch, writer: Writer) -> None:
    """The function that runs a kernel over whole grids."""
    _Waves(launch).write(writer)


class _Waves:
    """The function while it is written.

    Attributes:
        rows: for each state the variable of what arrives at the edge and behind it every place.
        tables: for each axis that of which row arrives at each place.
        leaves: for each state that of which rows leave the grid.
        kept: for each output the tensor that the kernel writes.
    """

    def __init__(self, launch: Launch) -> None:
        own = Identifiers([*launch.arguments.tensors, "batch", "length", "extents", "every", "grid", "at", "lanes"])
        self.launch, self.cell, self.kernel = launch, launch.loop.cell, launch.kernel
        self.given = launch.given
        self.starts = dict(zip((state.name for state in self.cell.states), launch.arguments.starts, strict=True))
        self.rows = {state.name: own.fresh(f"{state.name}_rows") for state in self.cell.states}
        axes = dict.fromkeys(state.axes[0] for state in self.cell.states)
        self.tables = {axis: own.fresh(f"from_{axis}") for axis in axes}
        self.leaves = {axis: own.fresh(f"leaves_{axis}") for axis in axes}
        self.kept = {output.name: own.fresh(output.name) for output in self.cell.outputs}

    def write(self, writer: Writer) -> None:
        launch, first = self.launch, self.launch.arguments.starts[0]
        saved = ", then arriving states" if launch.arguments.saved else ""
        with writer.block(launch.header):
            what = f"what it keeps of every place, then the last states{saved}"
            writer.docstring(f"Run `{self.kernel.name}` in each wave: {what}.")
            writer.line(f"batch, length = {first}.shape[0], math.prod(extents)")
            self._write_tensors(writer, f"{first}.device")
            runs = "wave_runs" if isinstance(launch.loop.how, Dag) else "place_runs"
            device, header = f"torch.cuda.device_of({first})", f"for at, lanes in {runs}(extents{self._direction()}):"
            with writer.block(f"with {device}:"), writer.block(header):
                self._write_call(writer)
            arrived = [self._saved(self.cell.state(name)) for name in launch.loop.saved]
            results = [*self.kept.values(), *map(self._last, self.cell.states), *arrived]
            writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")

    def _direction(self) -> str:
        return ", reverse=True" if self.launch.loop.reverse else ""

    def _write_tensors(self, writer: Writer, device: str) -> None:
        """What the kernel takes: tables, rows of states, arrays as kernels read them, and room for what is kept."""
        for axis, table in self.tables.items():
            place = self.cell.axes.index(axis)
            neighbours = f"grid_neighbours(extents, {place}{self._direction()}, device={device})"
            writer.line(f"{table}, {self.leaves[axis]} = {neighbours}")
        for name, rows in self.rows.items():
            writer.line(f"{rows} = with_border({self.starts[name]}, extents)")
        for tensor in self._with_role((Role.READ, Role.STATIC)):
            name = self.given[tensor.role, tensor.of]
            writer.line(f"{name} = {contiguous(tensor, name)}")
        for tensor in self._with_role((Role.KEPT,)):
            writer.line(f"{self.kept[tensor.of]} = {self.launch.kept(tensor, ('batch', 'length'))}")

    def _with_role(self, roles: Sequence[Role]) -> list[Tensor]:
        return [tensor for tensor in self.kernel.tensors if tensor.role in roles]

    def _write_call(self, writer: Writer) -> None:
        passed = [as_pairs(tensor, self._operand(tensor)) for tensor in self.kernel.tensors]
        passed += ["length"] * bool(self.kernel.length) + ["batch"] * bool(self.kernel.batch)
        along = {state.axes[0]: self.rows[state.name] for state in self.cell.states}
        passed += ["at", "lanes", *(f"{along[axis]}.shape[1]" for axis in self.cell.axes if axis in along)]
        writer.line(self.launch.grid)
        writer.line(f"{self.kernel.name}[grid]({', '.join([*passed, f'**{self.launch.constants}'])})")

    def _operand(self, tensor: Tensor) -> str:
        match tensor.role:
            case Role.TABLE:
                return self.tables[tensor.of]
            case Role.KEPT:
                return self.kept[tensor.of]
            case Role.START | Role.END:
                return self.rows[tensor.of]
            case _:
                return self.given[tensor.role, tensor.of]

    def _last(self, state: State) -> str:
        leaves = self.leaves[state.axes[0]]
        start = self.starts[state.name]
        return f"{self.rows[state.name]}.index_select(1, {leaves}.flatten()).reshape({start}.shape)"

    def _saved(self, state: State) -> str:
        """Arriving states of all places, or where `every` is 0 of none."""
        return f"{self.rows[state.name]}.index_select(1, {self.tables[state.axes[0]]}[: length * every])"
