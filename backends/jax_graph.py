"""A program over a graph as a JAX module: `prepare`, `init` and `apply`, in text that imports jax and NumPy.

The step of the states is a function `advance` of the places of one level.  `over_levels` runs it level by level; at
all places at once it gives what derivatives by inputs and params go through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from lsrl.backends import jax_prelude
from lsrl.backends.emit_jax import assembled
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
from lsrl.backends.jax_draw import write_init
from lsrl.backends.jax_einsum import einsum
from lsrl.backends.jax_header import types_told
from lsrl.backends.jax_module import ALONE, Module
from lsrl.backends.jax_ops import PRINTERS
from lsrl.backends.jax_place import TYPES, Printer, Types
from lsrl.backends.naming import Names
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.graph_plan import GraphPlan, Levels
from lsrl.ir.plan import Plan
from lsrl.ir.value import Kind, Value, postorder

_PRINTERS: Mapping[str, Printer] = {**PRINTERS, "einsum": partial(einsum, derived=True)}


def emit_jax_graph(
    plan: GraphPlan, dtype: str = "float32", source_name: str = "", command: str = "", *, gradients: bool = True
) -> str:
    """The text of a module that runs a plan over graphs; types, source and command as for `emit_jax`.

    The module's functions take and return dicts of arrays by name:

        init(seed) -> params
        prepare(edges, turns=None, nodes=None) -> graph, a pytree of arrays that goes through `jax.jit`
        apply(params, inputs, graph=None) -> (outputs, state of every edge)

    Args:
        gradients: states have derivatives; otherwise what comes out has none by what reaches it through states.

    Raises:
        KeyError: there is no such `dtype`.
    """
    types = TYPES[dtype]
    text = _Text(plan, types, Writer())
    write_init(text.module(plan.cell, text.names))
    text.writer.blank(2)
    if plan.levels is not None and plan.system is None:
        text.write_advance(plan.levels)
        text.writer.blank(2)
    write_prepare(plan.system, text.writer)
    text.writer.blank(2)
    text.write_apply(gradients)
    docstring = header(plan, types_told(types), source_name, command, "jax and NumPy")
    return assembled(text.module(plan.cell, text.names), types, docstring)


class _Text:
    """The module while it is written."""

    def __init__(self, plan: GraphPlan, types: Types, writer: Writer) -> None:
        self.plan, self.types, self.writer = plan, types, writer
        self.names = Names(plan.cell, (*jax_prelude.reserved(types), *RESERVED))

    def module(self, cell: Cell, names: Names) -> Module:
        """How values of a cell are printed: what lives anywhere has a leading axis."""
        made = Module.of(Plan(cell, self.plan.sizes, (), ()), names, self.types, self.writer)
        order = postorder([*cell.all_roots(), *self.plan.roots])
        return replace(made, varying=frozenset(v for v in order if v.domain), thin=frozenset())

    def write_advance(self, levels: Levels) -> None:
        """The step of one level."""
        names = Names(levels.cell, (*jax_prelude.reserved(self.types), *RESERVED))
        body = Writer(depth=1)
        function = GraphFunction(
            _printing(replace(self.module(levels.cell, names), writer=body)), Leads.of_step(levels.frames)
        )
        named = {read.leaf: Code(names.fresh(self.names[read.value])) for read in levels.reads if read.value.args}
        results = function.step(levels, self.statics(levels), named)
        with self.writer.block("def advance(level, arriving, at, statics):"):
            self.writer.docstring("What the edges that leave a level's nodes pass on.")
            self.writer.lines(counts("level", identifiers(f"{body}\n{results}")))
            self.writer.append(body)
            self.writer.line(f"return {results}")

    def statics(self, levels: Levels) -> list[Value]:
        module = self.module(levels.cell, self.names)
        return [value for value in levels.statics if not module.is_number(value)]

    def write_apply(self, gradients: bool) -> None:
        cell = self.plan.cell
        body = Writer(depth=1)
        module = replace(self.module(cell, self.names), writer=body)
        function = GraphFunction(_printing(module), Leads.everywhere())
        found = leaves(self.plan.roots)
        for op, group, names in given(cell):
            for leaf in (found[op, name] for name in names if (op, name) in found):
                code = module.converted(leaf.kind, f'{group}["{leaf.attr("name")}"]')
                lead = shape_of(*function.leads.of(leaf))
                body.line(f"{function.statements.bind(leaf)} = {code}", shape_text((*lead, *leaf.shape)))
        if self.plan.system is not None:
            function.write(named_operands(self.plan.system, module.is_number), wanted(self.plan))
            write_solution(self.plan.system, body, function.array, function.statements.bind, "jnp.concatenate")
        elif self.plan.levels is not None:
            self.write_levels(function, module, self.plan.levels, gradients)
        body.blank()
        function.write([output.value for output in cell.outputs])
        results = function.returned(self.plan, self.outside)
        with self.writer.block(f"def apply({parameters(cell)}):"):
            self.writer.docstring(apply_docstring(cell))
            with self.writer.block("if graph is None:"):
                turns = 'inputs.get("turns")'
                self.writer.line(f'graph = prepare(inputs["edges"], {turns}, {node_count(cell)})')
            used = identifiers(f"{body}\n{results}")
            if "level" in used or used & {"nodes", "edges", "turns"}:
                self.writer.line("level = graph.whole")
            self.writer.lines(counts("level", used))
            self.writer.append(body)
            self.writer.line(results)

    def write_levels(self, function: GraphFunction, module: Module, levels: Levels, gradients: bool) -> None:
        """What the step needs, at all places, and the states of all edges."""
        body, place = module.writer, module.place(ALONE)
        codes = function.statements.codes
        function.run_levels(
            self.plan, levels, self.statics(levels), lambda value: module.operand(value, codes, place).code
        )
        empty = [call("jnp.zeros", place.shape(s.shape, False), self.types.of(s.kind)) for s in levels.states]
        body.line(f"empty = {tupled([str(each) for each in empty])}")
        body.line("known = over_levels(advance, frames, graph, empty, at, statics)")
        if gradients:
            body.line("passed = advance(level, known, at, statics)  # again, for what derivatives go through")
            body.line("known = solved_levels(advance, frames, graph, known, passed, at, statics)")
        body.line(f"{function.taken_apart(levels.arriving)} = known")

    def outside(self, value: Value, code: Code) -> Code:
        """An output in the type of the module's data."""
        return method(code, "astype", self.types.data) if self.types.narrow and value.kind is Kind.FLOAT else code


def _printing(module: Module) -> Printing:
    def operation(value: Value, codes: Codes, lead: Sequence[str]) -> Code:
        place = module.place(lead)
        return _PRINTERS[value.op](value, [module.operand(arg, codes, place) for arg in value.args], place)

    def leaf(value: Value, codes: Codes) -> Code:
        return module.operand(value, codes, module.place(ALONE)).code

    return Printing(module.statements(ALONE), leaf, operation, module.array)
