"""A loop that Newton's method solves, in plain PyTorch.

Its step and the Jacobian of that become functions of all positions of a window; `newton` (`runtime/torch_newton.py`)
calls them in every iteration.  What depends on no state is computed before, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lsrl.backends import torch_prelude
from lsrl.backends.expressions import Code, method, tupled
from lsrl.backends.identifiers import identifiers
from lsrl.backends.naming import Names
from lsrl.backends.newton_cell import NewtonStep, newton_step, options
from lsrl.backends.thin import constant_leaves, thin_values
from lsrl.backends.torch_frame import SEQUENCE, Frame
from lsrl.backends.torch_loop import PlainLoop
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell
from lsrl.ir.pipeline import VARYING
from lsrl.ir.schedules.how import Newton
from lsrl.ir.value import Kind, Value, depends_on, postorder


def write_newton_loop(name: str, plain: PlainLoop, how: Newton, writer: Writer) -> None:
    """The function `name`: as the plain loop, with what is told about the run after the last states."""
    writing = _Newton(plain, how)
    results = writing.write()
    arguments = plain.arguments
    with writer.block(f"def {name}({', '.join((*arguments.tensors, *arguments.extent, *arguments.options))}):"):
        writer.docstring(plain.docstring("by Newton's method", "the last states and what is told of the run"))
        _write_extent(writer, str(writing.body), arguments.tensors[0], len(arguments.reads) > 0)
        writer.append(writing.body)
        writer.line(f"return {', '.join(results)}")


def _write_extent(writer: Writer, body: str, first: str, is_sequence: bool) -> None:
    """The numbers of sequences and positions, and the device, where text mentions them."""
    used = identifiers(body)
    for place, name in enumerate(SEQUENCE[: 2 if is_sequence else 1]):
        if name in used:
            writer.line(f"{name} = {first}.shape[{place}]")
    if "device" in used:
        writer.line(f"device = {first}.device")


class _Newton:
    """The body of the function while it is written."""

    def __init__(self, plain: PlainLoop, how: Newton) -> None:
        self.plain, self.cell, self.how = plain, plain.loop.cell, how
        self.body = Writer(depth=1)
        self.frame = _frame(self.cell, plain.frame, plain.frame.names, self.body)
        self.statements = self.frame.statements()
        leaves = {name: leaf for (op, name), leaf in plain.leaves.items() if op == "state"}
        self.leaves = [leaves[state.name] for state in self.cell.states]
        self.saved = [leaves[name] for name in plain.loop.saved]

    def write(self) -> list[str]:
        """All but the last statement; what that returns."""
        self.plain.widen(self.body)
        for (op, _), leaf in self.plain.leaves.items():
            if op != "state":
                self.statements.bind(leaf)
        names, starts = self.frame.names, self.plain.arguments.starts
        step = newton_step(
            self.cell, self.cell.states, self.frame.numbers, self.how, names.__getitem__, self.frame.is_number
        )
        self.values((*step.reads, *step.statics))
        functions = self.functions(step)
        told, lasts = names.fresh("statistics"), [names.fresh(f"{start}_last") for start in starts]
        arriving = tupled([self.bound(leaf, f"{names[leaf]}_arriving") for leaf in self.leaves])
        following = tupled([self.bound(state.next, names[state.next]) for state in self.cell.states])
        reads = tupled([names[value] for value in step.reads])
        arguments = [*functions, reads, tupled(starts), "length", *options(step, self.how, self.plain.loop.reverse)]
        self.body.line(f"{arriving}, {following}, {tupled(lasts)}, {told} = newton({', '.join(arguments)})")
        self.values([output.value for output in self.cell.outputs])
        kept = [self.kept(output.value) for output in self.cell.outputs]
        return [*kept, *lasts, f"*{told}", *(self.every(leaf) for leaf in self.saved)]

    def bound(self, value: Value, name: str) -> str:
        """A result of the iterations under a name, unless nothing needs it."""
        roots = [output.value for output in self.cell.outputs]
        used = {*roots, *self.saved, *(arg for v in postorder(roots, stop=self.is_result) for arg in v.args)}
        if value not in used or value in self.statements.codes:
            return "_"
        return self.statements.bind(value, Code(self.frame.names.fresh(name) if value in self.leaves else name))

    def is_result(self, value: Value) -> bool:
        return value in self.leaves or any(value is state.next for state in self.cell.states)

    def values(self, values: Sequence[Value]) -> None:
        """The values for all positions, each under a name."""
        codes, names = self.statements.codes, self.frame.names
        cone = list(postorder(values, stop=codes.__contains__))
        order = [v for v in cone if v not in codes and (v.args or v in constant_leaves(cone))]
        self.statements.write(order, {*values} & {*order})
        for value in values:
            if value in codes and not str(codes[value]).isidentifier():
                self.body.line(f"{names[value]} = {codes[value]}")
                self.statements.bind(value)

    def functions(self, step: NewtonStep) -> Iterator[str]:
        """Write the functions of what is read and of arriving states, the step and its Jacobian; their names."""
        for cell, word in ((step.step, "advance"), (step.jacobian, "derive")):
            self.body.blank()
            yield self.function(cell, word, len(step.reads))
        self.body.blank()

    def function(self, cell: Cell, name: str, reads: int) -> str:
        body = Writer(depth=self.body.depth + 1)
        frame = _frame(cell, self.frame, Names(cell, torch_prelude.reserved()), body)
        statements = frame.statements()
        roots = tuple(cell.roots())
        leaves = {str(v.attr("name")): v for v in postorder(roots) if v.op in ("input", "param")}
        given = {name: statements.bind(leaf) for name, leaf in leaves.items()}
        statements.write([v for v in postorder(roots) if v.args or v in constant_leaves([v])], {*roots})
        results = [str(frame.array(root, statements.codes).wide().code) for root in roots]
        function = self.frame.names.fresh(name)
        arguments = [given.get(declared.name, "_") for declared in cell.inputs]
        with self.body.block(f"def {function}(reads, states):"):
            for parts, code in ((arguments[:reads], "reads"), (arguments[reads:], "states")):
                if any(part != "_" for part in parts):
                    self.body.line(f"{', '.join(parts)}{',' if len(parts) == 1 else ''} = {code}")
            _write_extent(self.body, "\n".join([str(body), *results]), "states[0]", is_sequence=True)
            self.body.append(body)
            self.body.line(f"return {tupled(results)}")
        return function

    def kept(self, value: Value) -> str:
        """What is kept of every position, in the type in which it is stored."""
        code = self.frame.array(value, self.statements.codes).wide().code
        narrow = self.frame.types.narrow and value.kind is Kind.FLOAT
        return str(method(code, "to", self.frame.types.data) if narrow else code)

    def every(self, leaf: Value) -> str:
        options = ", reverse=True" if self.plain.loop.reverse else ""
        return f"every_so_many({self.statements.codes[leaf]}, every{options})"


def _frame(cell: Cell, like: Frame, names: Names, writer: Writer) -> Frame:
    """How values of whole sequences are written."""
    roots = tuple(cell.roots())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    return replace(
        like, cell=cell, names=names, lead=SEQUENCE, varying=varying, thin=thin_values(roots, roots), writer=writer
    )
