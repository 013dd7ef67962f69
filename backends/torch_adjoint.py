"""The derivative of a loop in PyTorch: a function of whole sequences, of what the loop took and of cotangents.

Its text is the plan of the loop's adjoint (`lsrl.ir.loop_adjoint`).  What needs no cotangent of a state is computed
for all positions at once, from the states that arrived; the cotangents of the states are a loop that runs the other
way, with a kernel of its own; the gradient of a param is one product over all positions at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from lsrl.backends.expressions import Code, method
from lsrl.backends.identifiers import identifiers
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.loop_derivative import Derivative, loop_derivative, never
from lsrl.backends.naming import Names
from lsrl.backends.places import loop_extent
from lsrl.backends.thin import thin_values
from lsrl.backends.torch_directions import run_cells, runs
from lsrl.backends.torch_einsum import summed_product
from lsrl.backends.torch_frame import SEQUENCE, Frame, narrow_values
from lsrl.backends.torch_place import Printer, Types
from lsrl.backends.torch_stages import Stages
from lsrl.backends.torch_stencil import summed_kernel
from lsrl.backends.wave_work import joined_to_waves
from lsrl.backends.writer import Writer
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan import Loop
from lsrl.ir.position_sums import factors
from lsrl.ir.schedules.how import Newton, Scan
from lsrl.ir.value import Kind, Value, depends_on, postorder

_SUMMED: Mapping[str, Printer] = {"einsum": summed_product, "conv_dw": summed_kernel}
LoopWriter = Callable[[LoopCell, Frame], str]
"""Writes what runs a loop; the name of its function."""


def derivative(loop: LoopCell, numbers: Mapping[str, int], *, saved_inside: bool) -> Derivative | None:
    """The derivative of a loop; None where nothing in it has one.

    It runs as the loop does: scans where that is one, or Newton's method, which solves by scans.

    Args:
        numbers: the number of every size.
        saved_inside: as for `loop_derivative`.
    """
    scanned = isinstance(loop.how, Scan | Newton)
    found = loop_derivative(
        loop,
        numbers,
        scans=(lambda _: True) if scanned else never,
        reads_kept=False,
        hoist_elementwise=False,
        inline=(),
        saved_inside=saved_inside,
    )
    return found and replace(found, plan=joined_to_waves(found.plan))


def extent_argument(given: Derivative) -> tuple[str, ...]:
    """What tells the derivative how many positions there are, where nothing does of what it takes of each."""
    return loop_extent(given.loop.cell, bool(given.loop.cell.inputs or given.saved or given.adjoint.seeds))


def write_derivative(
    name: str,
    given: Derivative,
    narrow: frozenset[Value],
    types: Types,
    reserved: Iterable[str],
    write_loop: LoopWriter,
    writer: Writer,
) -> None:
    """The function `name`, and before it those of its loops.

    It takes what the loop reads, what stays the same, the arriving states that it needs, and the cotangents of what
    the loop keeps and of its last states; it gives those of what the loop reads, of what stays the same, and of the
    initial states, without ints and bools.

    Args:
        narrow: the values around the loop that are stored in 16 bits.
        reserved: identifiers that the module uses.
    """
    frame = _frame(given, narrow, types, reserved)
    beside = runs(given.plan)
    loops = run_cells(given.plan, beside, frame.names, frame.is_number)
    if types.narrow:
        stored = [v for place, loop in loops.items() for own in beside[place].played(loop.emits) for v in own]
        roots = (*given.plan.roots, *given.plan.cell.all_roots())
        frame = replace(frame, narrow=narrow_values(roots, frame.varying, stored, _wide(given, narrow, loops.values())))
    functions = {place: (write_loop(loop, frame), loop) for place, loop in loops.items()}
    _Writing(name, given, frame, functions).write(writer)


def _frame(given: Derivative, narrow: frozenset[Value], types: Types, reserved: Iterable[str]) -> Frame:
    plan = given.plan
    names = Names(plan.cell, reserved)
    roots = (*plan.roots, *plan.cell.all_roots())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    crossing = {v for stage in plan.stages if isinstance(stage, Loop) for v in (*stage.reads, *stage.emits)}
    thin = thin_values(roots, {*crossing, *given.sums.operands})
    return Frame(plan.cell, plan.sizes, names, types, SEQUENCE, varying, frozenset(), thin, Writer())


def _wide(given: Derivative, narrow: frozenset[Value], loops: Iterable[LoopCell]) -> frozenset[Value]:
    """What has full precision: arriving states, what the loop takes in full, and all that is computed anew of them.

    The loop computed that in full; derivatives elsewhere than at its solution are not the loop's.
    """
    loop = given.loop
    names = {("input", state.name) for state in loop.cell.states}
    names |= {("input", each.name) for each, v in zip(loop.cell.inputs, loop.reads, strict=True) if v not in narrow}
    names |= {("param", each.name) for each, v in zip(loop.cell.params, loop.statics, strict=True) if v not in narrow}
    leaves = (v for v in postorder(given.plan.cell.roots()) if v.op in ("input", "param"))
    found = {v for v in leaves if (v.op, v.attr("name")) in names}
    states = {("input", state.name) for state in loop.cell.states}
    later = {value for each in loops for value in each.emits}
    roots = tuple(given.plan.roots)
    anew = depends_on(roots, lambda v: v.op == "input" and (v.op, v.attr("name")) in states)
    return frozenset(found | (anew - depends_on(roots, later.__contains__)))


class _Writing:
    """The function while it is written."""

    def __init__(
        self, name: str, given: Derivative, frame: Frame, functions: Mapping[int, tuple[str, LoopCell]]
    ) -> None:
        self.name, self.given = name, given
        self.body = Writer(depth=1)
        self.frame = frame.to(self.body)
        self.names = frame.names
        roots = [*given.plan.roots, *given.gradients.values()]
        self.leaves = {(v.op, str(v.attr("name"))): v for v in postorder(roots) if v.op in ("input", "param")}
        cell = given.loop.cell
        self.lasts = {s: self.names.fresh(f"{d}_last") for s, d in given.adjoint.states.items()}
        starts = {d: self.lasts[s] for s, d in given.adjoint.states.items()}
        wanted = [output.value for output in given.plan.cell.outputs]
        self.stages = Stages(given.plan, self.frame, functions, starts, wanted)
        self.reads = [self._argument("input", each.name) for each in cell.inputs]
        self.statics = [self._argument("param", each.name) for each in cell.params]
        self.saved = [self._argument("input", name) for name in given.saved]
        self.seeds = [self._argument("input", name) for name in given.adjoint.seeds.values()]

    def _argument(self, op: str, name: str) -> str:
        leaf = self.leaves.get((op, name))
        return self.names.fresh(name) if leaf is None else self.stages.statements.bind(leaf)

    def write(self, writer: Writer) -> None:
        self.stages.write()
        totals = self._totals()
        results = [*self._inputs(), *totals, *self._starts()]
        self.body.blank()
        self.body.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")
        arguments = [*self.reads, *self.statics, *self.saved, *self.seeds, *self.lasts.values()]
        arguments += extent_argument(self.given)
        with writer.block(f"def {self.name}({', '.join(arguments)}):"):
            writer.docstring("The derivative of the loop: cotangents of what it takes, from those of what it gives.")
            self._write_extent(writer)
            writer.append(self.body)

    def _write_extent(self, writer: Writer) -> None:
        used = identifiers(str(self.body))
        sequence = (*self.reads, *self.saved, *self.seeds)
        for place, name in enumerate(SEQUENCE[: 2 if sequence else 1]):
            if name in used:
                writer.line(f"{name} = {(*sequence, *self.lasts.values())[0]}.shape[{place}]")
        if not sequence and "extents" in extent_argument(self.given) and "length" in used:
            writer.line("length = math.prod(extents)")
        if "device" in used:
            writer.line(f"device = {(*sequence, *self.lasts.values())[0]}.device")

    def _inputs(self) -> list[str]:
        """The cotangents of what the loop reads, in the types that it reads."""
        outputs = {output.name: output.value for output in self.given.plan.cell.outputs}
        statements = self.stages.statements
        own = [outputs[name] for name in self.given.adjoint.inputs.values()]
        statics = self.stages.missing_statics(own)
        statements.write(statics, {*statics})
        found = []
        for name, value in zip(self.given.adjoint.inputs, own, strict=True):
            leaf = self.leaves.get(("input", name))
            code = self._fitted(self.frame.array(value, statements.codes).code, value, leaf)
            # A Function may give back a view of what it was given, but not the thing itself.
            found.append(f"{code}.view_as({code})" if value.op == "input" else code)
        return found

    def _fitted(self, code: Code, value: Value, leaf: Value | None) -> str:
        narrow = self.frame.types.narrow and value.kind is Kind.FLOAT
        if not narrow:
            return str(code)
        stored = leaf is None or leaf in self.frame.narrow
        return str(method(code, "to", self.frame.types.data if stored else self.frame.types.real))

    def _totals(self) -> list[str]:
        """The gradients of what is the same at every position."""
        statements, frame = self.stages.statements, self.frame
        for leaf, value in self.given.sums.parts.items():
            statics = self.stages.missing_statics(factors(value))
            statements.write(statics, {*statics})
            name = self.names.fresh(f"{self.names[value]}_sum")
            self.body.line(f"{name} = {self._sum(value)}")
            statements.bind(leaf, Code(name))
        gradients = self.given.gradients
        values = [v for v in postorder(gradients.values()) if v.args and v not in statements.codes]
        statements.write(values, {v for v in gradients.values() if v in values})
        found = []
        for name, value in gradients.items():
            code = frame.operand(value, statements.codes).tensor(frame.types).code
            found.append(self._fitted(code, value, self.leaves.get(("param", name))))
        return found

    def _sum(self, value: Value) -> Code:
        """The sum over sequences and positions."""
        codes, frame = self.stages.statements.codes, self.frame
        if factors(value) == value.args:
            return _SUMMED[value.op](value, [frame.operand(arg, codes) for arg in value.args], frame.place)
        return method(frame.array(value, codes).wide().code, "sum", (0, 1))

    def _starts(self) -> list[str]:
        return [self.stages.final[name] for name in self.given.adjoint.states.values()]
