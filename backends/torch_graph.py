"""A program over a graph as a PyTorch module: `prepare`, `init` and `apply`, in text that imports torch and NumPy.

The step of the states is a function `advance` of the places of one level.  `over_levels` runs it level by level; at
all places at once it gives what derivatives by inputs and params go through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lsrl.backends import torch_prelude
from lsrl.backends.emit_triton import assembled
from lsrl.backends.expressions import Code, call, method, tupled
from lsrl.backends.graph_function import Codes, GraphFunction, Printing, wanted
from lsrl.backends.graph_system import named_operands, write_prepare, write_solution
from lsrl.backends.graph_text import (
    RESERVED,
    Leads,
    apply_docstring,
    counts,
    given,
    header,
    leaves,
    node_count,
    parameters,
)
from lsrl.backends.identifiers import identifiers
from lsrl.backends.naming import Names, identifier
from lsrl.backends.torch_draw import write_init
from lsrl.backends.torch_frame import ALONE, Frame
from lsrl.backends.torch_header import types_told
from lsrl.backends.torch_ops import PRINTERS
from lsrl.backends.torch_place import TYPES, Types
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.graph_plan import GraphPlan, Levels
from lsrl.ir.value import Kind, Value, postorder


def emit_torch_graph(
    plan: GraphPlan, dtype: str = "float32", source_name: str = "", command: str = "", *, gradients: bool = True
) -> str:
    """The text of a module that runs a plan over graphs; types, source and command as for `emit_triton`.

    The module's functions take and return dicts of tensors by name:

        init(seed, device) -> params
        prepare(edges, turns=None, nodes=None, device=None) -> graph
        apply(params, inputs, graph=None) -> (outputs, state of every edge)

    and an `nn.Module` holds the parameters.

    Args:
        gradients: whether it has a backward pass.

    Raises:
        KeyError: there is no such `dtype`.
    """
    types = TYPES[dtype]
    text = _Text(plan, types, Writer())
    frame = text.frame(plan.cell, text.names)
    write_init(frame)
    text.writer.blank(2)
    if plan.levels is not None and plan.system is None:
        text.write_advance(plan.levels)
        text.writer.blank(2)
    write_prepare(plan.system, text.writer, "device")
    text.writer.blank(2)
    text.write_apply(gradients)
    text.writer.blank(2)
    text.write_module()
    return assembled(frame, header(plan, types_told(types), source_name, command, "torch and NumPy"))


class _Text:
    """The module while it is written."""

    def __init__(self, plan: GraphPlan, types: Types, writer: Writer) -> None:
        self.plan, self.types, self.writer = plan, types, writer
        self.names = Names(plan.cell, (*torch_prelude.reserved(), *RESERVED))

    def frame(self, cell: Cell, names: Names) -> Frame:
        """How values of a cell are printed: what lives anywhere has a leading axis."""
        order = postorder([*cell.all_roots(), *self.plan.roots])
        varying = frozenset(v for v in order if v.domain)
        none: frozenset[Value] = frozenset()
        return Frame(cell, self.plan.sizes, names, self.types, ALONE, varying, none, none, self.writer)

    def write_advance(self, levels: Levels) -> None:
        """The step of one level."""
        names = Names(levels.cell, (*torch_prelude.reserved(), *RESERVED))
        body = Writer(depth=1)
        function = GraphFunction(_printing(self.frame(levels.cell, names).to(body)), Leads.of_step(levels.frames))
        named = {read.leaf: Code(names.fresh(self.names[read.value])) for read in levels.reads if read.value.args}
        results = function.step(levels, self.statics(levels), named)
        with self.writer.block("def advance(level, arriving, at, statics):"):
            self.writer.docstring("What the edges that leave a level's nodes pass on.")
            used = identifiers(f"{body}\n{results}")
            self.writer.lines(counts("level", used))
            if "device" in used:
                self.writer.line("device = level.nodes.device")
            self.writer.append(body)
            self.writer.line(f"return {results}")

    def statics(self, levels: Levels) -> list[Value]:
        frame = self.frame(levels.cell, self.names)
        return [value for value in levels.statics if not frame.is_number(value)]

    def write_apply(self, gradients: bool) -> None:
        cell = self.plan.cell
        body = Writer(depth=1)
        frame = self.frame(cell, self.names).to(body)
        function = GraphFunction(_printing(frame), Leads.everywhere())
        found = leaves(self.plan.roots)
        for op, group, names in given(cell):
            for leaf in (found[op, name] for name in names if (op, name) in found):
                code = method(Code(f'{group}["{leaf.attr("name")}"]'), "to", self.types.of(leaf.kind))
                lead = shape_of(*function.leads.of(leaf))
                body.line(f"{function.statements.bind(leaf)} = {code}", shape_text((*lead, *leaf.shape)))
        if self.plan.system is not None:
            function.write(named_operands(self.plan.system, frame.is_number), wanted(self.plan))
            write_solution(self.plan.system, body, function.array, function.statements.bind, "torch.cat")
        elif self.plan.levels is not None:
            self.write_levels(function, frame, self.plan.levels, gradients)
        body.blank()
        function.write([output.value for output in cell.outputs])
        results = function.returned(self.plan, self.outside)
        if not gradients:
            self.writer.line("@torch.no_grad()")
        with self.writer.block(f"def apply({parameters(cell)}):"):
            self.writer.docstring(apply_docstring(cell))
            self.writer.line(f"device = {self.device()}")
            with self.writer.block("if graph is None:"):
                turns = 'inputs.get("turns")'
                self.writer.line(f'graph = prepare(inputs["edges"], {turns}, {node_count(cell)}, device)')
            self.writer.line("level = graph.whole")
            self.writer.lines(counts("level", identifiers(f"{body}\n{results}")))
            self.writer.append(body)
            self.writer.line(results)

    def device(self) -> str:
        """The expression of the device that a graph goes to."""
        cell = self.plan.cell
        inputs = [f'inputs["{name}"]' for name in (*(i.name for i in cell.inputs), *(n.name for n in cell.noises))]
        every = [*inputs, *(f'params["{param.name}"]' for param in cell.params), 'inputs["edges"]']
        return f"{every[0]}.device"

    def write_levels(self, function: GraphFunction, frame: Frame, levels: Levels, gradients: bool) -> None:
        """What the step needs, at all places, and the states of all edges."""
        body, codes = frame.writer, function.statements.codes
        function.run_levels(
            self.plan, levels, self.statics(levels), lambda value: frame.operand(value, codes).tensor(self.types).code
        )
        shapes = [(frame.place.shape(s.shape, False), self.types.of(s.kind)) for s in levels.states]
        empty = [str(call("torch.zeros", shape, dtype=type_, device="device")) for shape, type_ in shapes]
        body.line(f"empty = {tupled(empty)}")
        body.line("known = over_levels(advance, frames, graph, empty, at, statics)")
        if gradients:
            with body.block("if wants_gradients(*at, *statics):"):
                body.line("passed = advance(level, known, at, statics)  # again, for what derivatives go through")
                body.line("known = solved_levels(advance, frames, graph, known, passed, at, statics)")
        body.line(f"{function.taken_apart(levels.arriving)} = known")

    def outside(self, value: Value, code: Code) -> Code:
        """An output in the type of the module's data."""
        return method(code, "to", self.types.data) if self.types.narrow and value.kind is Kind.FLOAT else code

    def write_module(self) -> None:
        """An `nn.Module` with the parameters, ready to use."""
        words = identifier(self.plan.cell.name).split("_")
        writer = self.writer
        with writer.block(f"class {self.names.fresh(''.join(w[:1].upper() + w[1:] for w in words))}(torch.nn.Module):"):
            writer.docstring("`apply` with parameters of its own.")
            writer.blank()
            with writer.block("def __init__(self, seed=0, device=None):"):
                writer.line("super().__init__()")
                with writer.block("for name, param in init(seed, device).items():"):
                    writer.line("register(self, name, param)")
            writer.blank()
            with writer.block("def forward(self, inputs, graph=None, **options):"):
                writer.line("return apply(dict(self.named_parameters()), inputs, graph, **options)")


def _printing(frame: Frame) -> Printing:
    def operation(value: Value, codes: Codes, lead: Sequence[str]) -> Code:
        here = replace(frame, lead=tuple(lead))
        return PRINTERS[value.op](value, [here.operand(arg, codes) for arg in value.args], here.place)

    def leaf(value: Value, codes: Codes) -> Code:
        return frame.operand(value, codes).code

    def array(value: Value, codes: Codes, lead: Sequence[str]) -> Code:
        return replace(frame, lead=tuple(lead)).array(value, codes).code

    return Printing(frame.statements(), leaf, operation, array)
