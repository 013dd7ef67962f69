"""The function `apply` of an emitted PyTorch module: one section for each stage of the plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lsrl.backends.expressions import method
from lsrl.backends.identifiers import identifiers
from lsrl.backends.newton_cell import TOLD
from lsrl.backends.places import extent_name, outer_axes
from lsrl.backends.torch_draw import given_tensor, write_noise
from lsrl.backends.torch_frame import SEQUENCE, Frame
from lsrl.backends.torch_stages import Functions, Stages
from lsrl.backends.writer import Writer
from lsrl.ir.lattice import is_grid
from lsrl.ir.plan import Plan
from lsrl.ir.value import Kind, Value


def write_apply(plan: Plan, frame: Frame, functions: Functions) -> None:
    """`apply(params, inputs, state=None)`: whole sequences.

    Args:
        frame: of all positions.
        functions: for each loop, by its place among the stages, the function that runs it.
    """
    cell, writer = frame.cell, frame.writer
    options = ["state=None"] if cell.inputs else ["state=None", "*", extent_name(cell), "batch=1"]
    options += ["generator=None"] if cell.noises else []
    parameters = f"params, inputs, {', '.join(options)}"
    body = Writer(depth=1)
    written = _Apply(plan, frame.to(body), functions)
    written.write()
    told = bool(written.stages.statistics)
    with writer.block(f"def apply{'_statistics' if told else ''}({parameters}):"):
        writer.docstring(_docstring(frame, told))
        _write_extent(frame, identifiers(str(body)))
        writer.append(body)
    if told:
        writer.blank(2)
        _write_plain_apply(writer, parameters)


def _write_plain_apply(writer: Writer, parameters: str) -> None:
    """`apply` where `apply_statistics` does the work."""
    named = [parameter.partition("=")[0] for parameter in parameters.split(", ") if parameter != "*"]
    passed = [name if name in ("params", "inputs", "state") else f"{name}={name}" for name in named]
    with writer.block(f"def apply({parameters}):"):
        writer.docstring("As `apply_statistics`, without what it tells about the run.")
        writer.line(f"return apply_statistics({', '.join(passed)})[:2]")


def _write_extent(frame: Frame, used: Collection[str]) -> None:
    """The numbers of sequences and positions, and the device, as the first input tells them."""
    names = [name for name in SEQUENCE if name in used]
    first = f'inputs["{frame.cell.inputs[0].name}"]' if frame.cell.inputs else ""
    if is_grid(frame.cell):
        _write_extents(frame, first, used)
    elif first and names:
        index = ":2" if len(names) > 1 else str(SEQUENCE.index(names[0]))
        frame.writer.line(f"{', '.join(names)} = {first}.shape[{index}]")
    if "device" not in used:
        return
    if first:
        frame.writer.line(f"device = {first}.device")
    elif frame.cell.params:
        frame.writer.line(f'device = params["{frame.cell.params[0].name}"].device')
    else:
        frame.writer.line("device = next((start.device for start in (state or {}).values()), None)")


def _write_extents(frame: Frame, first: str, used: Collection[str]) -> None:
    """The number of sequences, that of places along each axis, and of all places."""
    if first:
        frame.writer.line(f"batch, *extents = {first}.shape[: {1 + len(frame.cell.axes)}]")
    if "length" in used:
        frame.writer.line("length = math.prod(extents)")


def _docstring(frame: Frame, told: bool) -> str:
    cell = frame.cell
    statistics = ", statistics of recurrences" if told else ""
    over = "grids" if is_grid(cell) else "sequences"
    lead = ", ".join(outer_axes(cell))
    lines = [f"Run whole {over}: (outputs [{lead}, ...], final state [B, ...]{statistics}) by name.", ""]
    if not cell.inputs:
        lines.append(f"There is no input to tell the {extent_name(cell)}, so it is given.")
    if cell.states:
        lines.append("`state` holds initial states by name; those it lacks start as the program says.")
    if cell.noises:
        lines.append("Noise is an input that may be left out: it is then drawn with `generator`.")
    return "\n".join(lines)


class _Apply:
    """The body of `apply` while it is written."""

    def __init__(self, plan: Plan, frame: Frame, functions: Functions) -> None:
        self.plan, self.frame = plan, frame
        self.cell, self.writer = frame.cell, frame.writer
        starts = {state.name: f'state["{state.name}"]' for state in self.cell.states}
        self.stages = Stages(plan, frame, functions, starts, [output.value for output in self.cell.outputs])
        self.statements = self.stages.statements

    def write(self) -> None:
        self.unpack()
        self.stages.write()
        statics = self.stages.missing_statics([output.value for output in self.cell.outputs])
        self.statements.write(statics, {*statics})
        self.writer.blank()
        outputs = [f'"{o.name}": {self.output(o.value)}' for o in self.cell.outputs]
        final = [f'"{s.name}": {self.stages.final[s.name]}' for s in self.cell.states]
        results = f"return {{{', '.join(outputs)}}}, {{{', '.join(final)}}}"
        told = [f'"{names}": {self.told(each)}' for names, each in self.stages.statistics.items()]
        self.writer.line(f"{results}, {{{', '.join(told)}}}" if told else results)

    def unpack(self) -> None:
        """Tensors from outside get names and types."""
        used = {(v.op, str(v.attr("name"))): v for v in self.stages.order if v.op in ("param", "input")}
        for op, collection, names in (
            ("param", "params", [p.name for p in self.cell.params]),
            ("input", "inputs", [i.name for i in self.cell.inputs]),
        ):
            for leaf in (used[op, name] for name in names if (op, name) in used):
                type_ = self.frame.types.data if leaf.kind is Kind.FLOAT else self.frame.types.of(leaf.kind)
                code = given_tensor(self.frame, collection, str(leaf.attr("name")), leaf.shape, type_)
                self.writer.line(f"{self.statements.bind(leaf)} = {code}")
        write_noise(self.frame, self.statements, [v for v in self.stages.order if v.op == "noise"])
        if self.cell.states:
            extents = "extents, " if is_grid(self.cell) else ""
            self.writer.line(f"state = starting(params, state, batch, {extents}device)")

    def told(self, names: Sequence[str]) -> str:
        """What is known about how a recurrence ran."""
        entries = [f'"{word}": {name}' for word, name in zip(TOLD, names, strict=True)]
        return f"{{{', '.join(entries)}}}"

    def output(self, value: Value) -> str:
        operand = self.frame.array(value, self.statements.codes)
        types = self.frame.types
        narrowed = types.narrow and value.kind is Kind.FLOAT and not operand.narrow
        code = method(operand.code, "to", types.data) if narrowed else operand.code
        return f"on_grid({code}, extents)" if is_grid(self.cell) else str(code)
