"""The body of a function of a program over a graph: what lives anywhere has the leading axes of its places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, tupled
from lsrl.backends.graph_text import Leads, between, is_between
from lsrl.backends.statements import Statements
from lsrl.backends.thin import constant_leaves
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.graph_plan import GraphPlan, Levels
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value, postorder

Codes = Mapping[Value, Code]


@dataclass(frozen=True, slots=True)
class Printing:
    """How a framework writes the values of a cell.

    Attributes:
        statements: a body without statements yet.
        leaf: a value without operands.
        operation: a value with operands, which have the leading axes that are told.
        array: a value with leading axes, repeated along them where it is the same everywhere.
    """

    statements: Statements
    leaf: Callable[[Value, Codes], Code]
    operation: Callable[[Value, Codes, Sequence[str]], Code]
    array: Callable[[Value, Codes, Sequence[str]], Code]


class GraphFunction:
    """The body while it is written.

    Attributes:
        leads: the leading axes of values.
        statements: how each value known so far is written.
    """

    def __init__(self, printing: Printing, leads: Leads) -> None:
        self.printing, self.leads, self.statements = printing, leads, printing.statements
        self.statements.target = replace(self.statements.target, express=self.express, remark=self.remark)

    def express(self, value: Value, codes: Codes) -> Code:
        if not value.args:
            return self.printing.leaf(value, codes)
        if is_between(value):
            (operand,) = value.args
            lead = self.leads.of(operand) or self.leads.collected(value)
            return between(value, self.printing.array(operand, codes, lead))
        return self.printing.operation(value, codes, self.leads.of(value))

    def array(self, value: Value, lead: Sequence[str]) -> Code:
        """A value with leading axes."""
        return self.printing.array(value, self.statements.codes, lead)

    def everywhere(self, value: Value) -> Code:
        """A value with the leading axes of its places."""
        return self.array(value, self.leads.of(value))

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

    def taken_apart(self, values: Sequence[Value], named: Codes | None = None) -> str:
        """The left side of an assignment that makes values known, under names that are given or their own."""
        names = [self.statements.bind(value, (named or {}).get(value)) for value in values]
        return tupled(names) if len(names) == 1 else ", ".join(names)

    def step(self, levels: Levels, statics: Sequence[Value], named: Codes) -> str:
        """The step of one level, of `arriving`, `at` and `statics`; what it gives.

        Args:
            named: the names of what is read, where it has names elsewhere.
        """
        groups = {"arriving": levels.arriving, "at": [read.leaf for read in levels.reads], "statics": statics}
        for group, values in groups.items():
            if values:
                self.statements.writer.line(f"{self.taken_apart(values, named)} = {group}")
        nexts = [state.next for state in levels.states]
        self.write(nexts)
        return tupled([str(self.array(value, ("leaving",))) for value in nexts])

    def run_levels(
        self, plan: GraphPlan, levels: Levels, statics: Sequence[Value], static: Callable[[Value], Code]
    ) -> None:
        """What the step needs, at all places.

        Args:
            static: how what is the same everywhere is written.
        """
        writer = self.statements.writer
        self.write([*(read.value for read in levels.reads), *statics], wanted(plan))
        writer.blank()
        at = [str(self.everywhere(read.value)) for read in levels.reads]
        used = [str(static(value)) for value in statics]
        writer.line(f"at, statics = {tupled(at) if at else '()'}, {tupled(used) if used else '()'}")
        frames = [f'"{read.frame}"' for read in levels.reads]
        writer.line(f"frames = {tupled(frames) if frames else '()'}")

    def returned(self, plan: GraphPlan, outside: Callable[[Value, Code], Code]) -> str:
        """The statement that gives outputs and final states.

        Args:
            outside: an output as it leaves the module.
        """
        outputs = [f'"{o.name}": {outside(o.value, self.everywhere(o.value))}' for o in plan.cell.outputs]
        leaf = {str(value.attr("name")): value for value in plan.arriving}
        final = [f'"{state.name}": {self.statements.codes[leaf[state.name]]}' for state in plan.cell.states]
        return f"return {{{', '.join(outputs)}}}, {{{', '.join(final)}}}"


def wanted(plan: GraphPlan) -> set[Value]:
    """What outputs are made of."""
    return {value for output in plan.cell.outputs for value in postorder([output.value])}
