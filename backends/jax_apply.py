"""The function `apply` of an emitted JAX module: one section for each stage of the plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lsrl.backends.expressions import method
from lsrl.backends.identifiers import identifiers
from lsrl.backends.jax_draw import in_a_row, write_noise
from lsrl.backends.jax_module import SEQUENCE, Module
from lsrl.backends.jax_stages import LoopWriter, Stages
from lsrl.backends.places import extent_name, inner_axes, outer_axes
from lsrl.backends.writer import Writer
from lsrl.ir.dims import Shape, shape_of, shape_text
from lsrl.ir.lattice import is_grid
from lsrl.ir.value import Kind, Value


def write_apply(module: Module, write_loop: LoopWriter) -> None:
    """`apply(params, inputs, state=None)`: whole sequences."""
    cell = module.cell
    options = ["state=None"] if cell.inputs else ["state=None", "*", extent_name(cell), "batch=1"]
    options += ["key=None"] if cell.noises else []
    parameters = f"params, inputs, {', '.join(options)}"
    writer = module.writer
    body = Writer(depth=1)
    written = _Apply(replace(module, writer=body), write_loop)
    results = written.write()
    told = [f'"{names}": {code}' for names, code in written.stages.statistics.items()]
    with writer.block(f"def apply{'_statistics' if told else ''}({parameters}):"):
        writer.docstring(_docstring(module, bool(told)))
        _write_extent(module, identifiers(f"{body}\n{results}"))
        writer.append(body)
        writer.line(f"{results}, {{{', '.join(told)}}}" if told else results)
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


def _write_extent(module: Module, used: Collection[str]) -> None:
    """The numbers of sequences and positions, as the first input tells them."""
    if is_grid(module.cell):
        _write_extents(module, used)
        return
    names = [name for name in SEQUENCE if name in used]
    if module.cell.inputs and names:
        index = ":2" if len(names) > 1 else str(SEQUENCE.index(names[0]))
        first = module.cell.inputs[0].name
        module.writer.line(f'{", ".join(names)} = jnp.shape(inputs["{first}"])[{index}]')


def _write_extents(module: Module, used: Collection[str]) -> None:
    """The number of sequences, that of places along each axis, and of all places, as the first input tells them."""
    cell, writer = module.cell, module.writer
    if cell.inputs and {"batch", "extents", "length"} & set(used):
        shape = f'jnp.shape(inputs["{cell.inputs[0].name}"])[: {1 + len(cell.axes)}]'
        writer.line(f"batch, *extents = {shape}")
        writer.line("extents = tuple(extents)")
    if "length" in used:
        writer.line("length = math.prod(extents)")


def _docstring(module: Module, told: bool) -> str:
    cell = module.cell
    statistics = ", statistics of recurrences" if told else ""
    over = "grids" if is_grid(cell) else "sequences"
    lead = ", ".join(outer_axes(cell))
    lines = [f"Run whole {over}: (outputs [{lead}, ...], final state [B, ...]{statistics}) by name.", ""]
    if not cell.inputs:
        lines.append(f"There is no input to tell the {extent_name(cell)}, so it is given.")
    if cell.states:
        lines.append("`state` holds initial states by name; those it lacks start as the program says.")
    if cell.noises:
        lines.append("Noise is an input that may be left out: it is then drawn with `key`.")
    return "\n".join(lines)


class _Apply:
    """The body of `apply` while it is written."""

    def __init__(self, module: Module, write_loop: LoopWriter) -> None:
        starts = {state.name: f'state["{state.name}"]' for state in module.cell.states}
        self.module = module
        self.cell = module.cell
        self.stages = Stages(module, starts, write_loop)

    def write(self) -> str:
        """All of the body but its last statement, which is returned."""
        self.unpack()
        self.stages.write()
        self.module.writer.blank()
        outputs = [f'"{o.name}": {self.output(o.value)}' for o in self.cell.outputs]
        final = [f'"{s.name}": {self.stages.final[s.name]}' for s in self.cell.states]
        return f"return {{{', '.join(outputs)}}}, {{{', '.join(final)}}}"

    def unpack(self) -> None:
        """Arrays from outside get names and types."""
        leaves, writer, statements = self.stages.leaves, self.module.writer, self.stages.statements
        lead = shape_of(*inner_axes(self.cell))
        places: list[tuple[str, str, Shape]] = [("param", param.name, ()) for param in self.cell.params]
        places += [("input", declared.name, lead) for declared in self.cell.inputs]
        for sort, name, lead in places:
            leaf = leaves.get((sort, name))
            if leaf is not None:
                given = in_a_row(self.module, sort, f'{sort}s["{name}"]')
                code = self.module.converted(leaf.kind, given)
                writer.line(f"{statements.bind(leaf)} = {code}", shape_text((*lead, *leaf.shape)))
        write_noise(self.module, statements, [v for v in leaves.values() if v.op == "noise"])
        if self.cell.states:
            extent = ", extents" if is_grid(self.cell) else ""
            writer.line(f"state = starting(params, state, batch{extent})")

    def output(self, value: Value) -> str:
        """An output for every position, in the type of data."""
        code = self.module.array(value, self.stages.statements.codes, SEQUENCE)
        types = self.module.types
        typed = method(code, "astype", types.data) if types.narrow and value.kind is Kind.FLOAT else code
        return f"on_grid({typed}, extents)" if is_grid(self.cell) else str(typed)
