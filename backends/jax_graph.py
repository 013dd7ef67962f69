"""A program over a graph as a JAX module: `prepare`, `init` and `apply`, in text that imports jax and NumPy.

The step of the states is a function `advance` of the places of one level.  `over_levels` runs it level by level; at
all places at once it gives what derivatives by inputs and params go through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lsrl.backends import jax_prelude
from lsrl.backends.emit_jax import assembled
from lsrl.backends.expressions import Code, call, method, tupled
from lsrl.backends.graph_system import named_operands, write_prepare, write_solution
from lsrl.backends.graph_text import (
    RESERVED,
    Leads,
    apply_docstring,
    between,
    counts,
    given,
    header,
    is_between,
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
from lsrl.backends.statements import Statements
from lsrl.backends.thin import constant_leaves
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.graph_plan import GraphPlan, Levels
from lsrl.ir.ops import Family, family
from lsrl.ir.plan import Plan
from lsrl.ir.schedules.rounds_form import RoundsForm
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
        function = _Function(replace(self.module(levels.cell, names), writer=body), Leads.of_step(levels.frames))
        parts = (
            ("arriving", levels.arriving),
            ("at", [read.leaf for read in levels.reads]),
            ("statics", self.statics(levels)),
        )
        named = {read.leaf: Code(names.fresh(self.names[read.value])) for read in levels.reads if read.value.args}
        for group, values in parts:
            names_of = [function.statements.bind(value, named.get(value)) for value in values]
            if names_of:
                body.line(f"{tupled(names_of) if len(names_of) == 1 else ', '.join(names_of)} = {group}")
        nexts = [state.next for state in levels.states]
        function.write(nexts)
        results = tupled([str(function.array(v, ("leaving",))) for v in nexts])
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
        function = _Function(replace(self.module(cell, self.names), writer=body), Leads.everywhere())
        found = leaves(self.plan.roots)
        for op, group, names in given(cell):
            for leaf in (found[op, name] for name in names if (op, name) in found):
                code = function.module.converted(leaf.kind, f'{group}["{leaf.attr("name")}"]')
                lead = shape_of(*function.leads.of(leaf))
                body.line(f"{function.statements.bind(leaf)} = {code}", shape_text((*lead, *leaf.shape)))
        if self.plan.system is not None:
            self.write_system(function, self.plan.system)
        elif self.plan.levels is not None:
            self.write_levels(function, self.plan.levels, gradients)
        body.blank()
        function.write([output.value for output in cell.outputs])
        results = self.results(function)
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

    def write_levels(self, function: _Function, levels: Levels, gradients: bool) -> None:
        """What the step needs, at all places, and the states of all edges."""
        body, module = function.module.writer, function.module
        statics = self.statics(levels)
        needed = [*(read.value for read in levels.reads), *statics]
        later = {arg for output in self.plan.cell.outputs for arg in postorder([output.value])}
        function.write(needed, later)
        body.blank()
        at = [str(function.array(read.value, function.leads.of(read.value))) for read in levels.reads]
        used = [str(module.operand(v, function.statements.codes, module.place(ALONE)).code) for v in statics]
        body.line(f"at, statics = {tupled(at) if at else '()'}, {tupled(used) if used else '()'}")
        frames = [f'"{read.frame}"' for read in levels.reads]
        body.line(f"frames = {tupled(frames) if frames else '()'}")
        place = module.place(ALONE)
        empty = [call("jnp.zeros", place.shape(s.shape, False), self.types.of(s.kind)) for s in levels.states]
        body.line(f"empty = {tupled([str(each) for each in empty])}")
        body.line("known = over_levels(advance, frames, graph, empty, at, statics)")
        if gradients:
            body.line("passed = advance(level, known, at, statics)  # again, for what derivatives go through")
            body.line("known = solved_levels(advance, frames, graph, known, passed, at, statics)")
        bound = [function.statements.bind(leaf) for leaf in levels.arriving]
        body.line(f"{tupled(bound) if len(bound) == 1 else ', '.join(bound)} = known")

    def write_system(self, function: _Function, system: RoundsForm) -> None:
        """The weights and sources of the system, and its solution."""
        later = {arg for output in self.plan.cell.outputs for arg in postorder([output.value])}
        function.write(named_operands(system, function.module.is_number), later)
        write_solution(system, function.module.writer, function.array, function.statements.bind, "jnp.concatenate")

    def results(self, function: _Function) -> str:
        cell = self.plan.cell
        outputs = [f'"{o.name}": {self.output(function, o.value)}' for o in cell.outputs]
        leaf = {str(v.attr("name")): v for v in self.plan.arriving}
        final = [f'"{s.name}": {function.statements.codes[leaf[s.name]]}' for s in cell.states]
        return f"return {{{', '.join(outputs)}}}, {{{', '.join(final)}}}"

    def output(self, function: _Function, value: Value) -> Code:
        code = function.array(value, function.leads.of(value))
        return method(code, "astype", self.types.data) if self.types.narrow and value.kind is Kind.FLOAT else code


@dataclass(slots=True)
class _Function:
    """The body of a function in which values have the leading axes `leads`."""

    module: Module
    leads: Leads
    statements: Statements

    def __init__(self, module: Module, leads: Leads) -> None:
        self.module, self.leads = module, leads
        plain = module.target(ALONE)

        def express(value: Value, codes: Mapping[Value, Code]) -> Code:
            if not value.args:
                return module.operand(value, codes, module.place(ALONE)).code
            if is_between(value):
                return between(value, self.collected(value, codes))
            place = module.place(leads.of(value))
            return _PRINTERS[value.op](value, [module.operand(arg, codes, place) for arg in value.args], place)

        target = replace(plain, express=express, remark=self.remark)
        self.statements = Statements(module.cell, module.names, module.writer, target)

    def collected(self, value: Value, codes: Mapping[Value, Code]) -> Code:
        (operand,) = value.args
        return self.module.array(operand, codes, self.leads.of(operand) or self.leads.collected(value))

    def array(self, value: Value, lead: Sequence[str]) -> Code:
        """A value with leading axes."""
        return self.module.array(value, self.statements.codes, lead)

    def write(self, roots: Sequence[Value], later: Iterable[Value] = ()) -> None:
        """What the roots are made of, each under a name if a root or needed `later`."""
        known = self.statements.codes
        cone = list(postorder(roots, stop=known.__contains__))
        own = [v for v in cone if v not in known and (v.args or v in constant_leaves(cone))]
        self.statements.write(own, {*roots, *later} & {*own}, roots)

    def remark(self, value: Value) -> str:
        """The shape, where it is not that of the operands."""
        if family(value.op) is Family.ELEMENTWISE:
            return ""
        return shape_text((*shape_of(*self.leads.of(value)), *value.shape))
