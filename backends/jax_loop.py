"""The recurrences of a JAX module as functions with derivatives of their own.

A loop becomes two functions of whole sequences: one runs it, the other its adjoint (`lsrl.ir.loop_adjoint`), which is
a plan like any other; `differentiable` (`runtime/jax_loop.py`) makes one function of both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lsrl.backends.expressions import tupled
from lsrl.backends.identifiers import identifiers
from lsrl.backends.jax_directions import Taken, write_directed
from lsrl.backends.jax_loop_adjoint import AdjointBody, cotangents
from lsrl.backends.jax_module import SEQUENCE, Module
from lsrl.backends.jax_newton import write_recurrence
from lsrl.backends.jax_stages import Stages
from lsrl.backends.jax_steps import function_name, unpack, write_steps
from lsrl.backends.loop_cell import LoopCell, loop_cell
from lsrl.backends.loop_derivative import Derivative, loop_derivative
from lsrl.backends.loop_memory import Pieces, pieces
from lsrl.backends.module_header import table
from lsrl.backends.naming import Names
from lsrl.backends.places import arrived, borders, extent_name, inner_axes
from lsrl.backends.stored import products_with_computed
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell, Output
from lsrl.ir.lattice import is_grid
from lsrl.ir.plan import Abreast, make_plan
from lsrl.ir.schedules.how import Newton
from lsrl.ir.value import Value, postorder


@dataclass(frozen=True, slots=True)
class LoopFunctions:
    """Writes loops as calls of functions, and these functions.

    Attributes:
        writer: where the functions go.
        reserved: identifiers that the module uses for itself.
        kept: what each loop keeps for its backward pass, in words.
    """

    writer: Writer
    reserved: tuple[str, ...]
    kept: list[str] = field(default_factory=list)

    def __call__(self, stages: Stages, beside: Abreast) -> None:
        """Write loops that run as one at a place of `stages`."""
        module, plain = stages.module, beside.is_plain(stages.cell.axes)
        loop = beside.loops[0] if plain else beside.forward
        part = loop_cell(
            module.plan, loop, module.names, lambda v: module.is_number(v) or v.op in ("const", "iota"), whole=False
        )
        derivative = loop_derivative(part, module.plan.sizes)
        if derivative is None:
            write_steps(stages, beside)
        elif plain:
            self.call(stages, derivative)
        else:
            taken = Taken(part.reads, part.statics, part.emits)
            write_directed(stages, self.functions(module, derivative), beside, taken)

    def call(self, stages: Stages, derivative: Derivative) -> None:
        """Write the functions of a loop, and the call of it."""
        module, part = stages.module, derivative.loop
        loop = part.cell
        codes = stages.statements.codes
        reads, statics = ([str(codes[v]) for v in values] for values in (part.reads, part.statics))
        starts = [stages.starts[state.name] for state in loop.states]
        function = self.functions(module, derivative)
        last = stages.passed_on(loop.states)
        kept = [stages.statements.bind(value) for value in part.emits]
        if isinstance(part.how, Newton):
            names = [state.name for state in loop.states]
            stages.statistics[", ".join(names)] = module.names.fresh(f"{function_name(names)}_statistics")
            kept.append(stages.statistics[", ".join(names)])
        arguments = f"{tupled(reads)}, {tupled(statics)}, {tupled(starts)}, {extent_name(module.cell)}"
        stages.writer.line(f"{tupled(kept)}, {tupled(last)} = {function}({arguments})")

    def functions(self, module: Module, derivative: Derivative) -> str:
        """Write the functions of a loop; the name of the one to call."""
        loop = derivative.loop
        base = function_name([state.name for state in loop.cell.states])
        name, steps, adjoint = (module.names.fresh(f"{base}_{word}") for word in ("loop", "steps", "adjoint"))
        saved = _Saved.of(derivative)
        text = Writer()
        _write_steps(steps, saved, module, self.reserved, text)
        text.blank(2)
        _write_adjoint(adjoint, name, saved, module, self.reserved, text)
        text.blank(2)
        cut = pieces(loop, module.plan.sizes)
        text.line(f"{name} = {_joined(steps, adjoint, loop, cut)}")
        self.kept.append(saved.in_words(cut))
        text.blank(2)
        self.writer.append(text)
        return name


@dataclass(frozen=True, slots=True)
class _Saved:
    """What a loop leaves to its adjoint.

    Attributes:
        arrays: what the loop takes and gives, by the name under which the adjoint finds it.
        shifted: arriving states that are kept sequences one position later, with the names of these.
    """

    derivative: Derivative
    arrays: Mapping[str, Value]
    shifted: Mapping[str, str]

    @classmethod
    def of(cls, derivative: Derivative) -> _Saved:
        cell, needed = derivative.loop.cell, derivative.leaves
        leaves = {v: str(v.attr("name")) for v in postorder(cell.roots()) if v.op in ("input", "param", "state")}
        kept = {output.value: output.name for output in cell.outputs}
        arrays = {name: leaf for leaf, name in leaves.items() if name in needed}
        shifted: dict[str, str] = {}
        for state in cell.states:
            if state.name in needed and state.next in kept and arrays[state.name] not in kept:
                shifted[state.name] = kept[state.next]
                del arrays[state.name]
        moved = {*shifted.values()}
        arrays |= {n: value for value, n in kept.items() if n in moved or (n in needed and value.args)}
        return cls(derivative, arrays, shifted)

    @property
    def arriving(self) -> tuple[Value, ...]:
        """The states that the loop must give out because the adjoint needs them."""
        kept = {output.value for output in self.derivative.loop.cell.outputs}
        return tuple(value for value in self.arrays.values() if value.op == "state" and value not in kept)

    def in_words(self, cut: Pieces | None) -> str:
        """`h, c at every position`, or what else is kept for the backward pass."""
        states = [state.name for state in self.derivative.loop.cell.states]
        if cut is None:
            found = [name for name in states if name in self.shifted or name in self.arrays]
            return f"{', '.join(found)} at every position" if found else f"nothing of {', '.join(states)}"
        places = f"every {cut.size} positions" if cut.size else "about as many pieces as a piece has positions"
        return f"{', '.join(states)} at the start of {places}"


def _write_steps(name: str, saved: _Saved, outer: Module, reserved: Sequence[str], writer: Writer) -> None:
    """The function `name` that runs the loop: (what it keeps, the last states, what its adjoint needs)."""
    loop = saved.derivative.loop.cell
    cell = replace(loop, outputs=(*loop.outputs, *(Output(str(v.attr("name")), v) for v in saved.arriving)))
    names, body = Names(cell, reserved), Writer(depth=1)
    hows = {state.name: saved.derivative.loop.how for state in cell.states}
    module = Module.of(make_plan(cell, outer.plan.sizes, hows=hows), names, outer.types, body)
    module = replace(module, wide=products_with_computed(saved.derivative.loop, module.plan.roots))
    starts = {state.name: names.fresh(f"{state.name}_first") for state in cell.states}
    stages = Stages(module, starts, write_recurrence)
    leaves = {name: leaf for (op, name), leaf in stages.leaves.items() if op != "state"}
    arguments = {n: stages.statements.bind(leaf) for n, leaf in leaves.items()}
    stages.write()
    codes = stages.statements.codes
    kept = [str(module.array(output.value, codes, SEQUENCE)) for output in loop.outputs]
    kept += stages.statistics.values()
    lasts = [stages.final[state.name] for state in loop.states]
    left = [str(codes[value]) for value in saved.arrays.values()] + [starts[state] for state in saved.shifted]
    result = f"return {tupled(kept)}, {tupled(lasts)}, {tupled(left)}"
    used = identifiers(str(body)) | identifiers(result)
    with writer.block(f"def {name}(reads, statics, starts, {extent_name(cell)}):"):
        writer.docstring(_steps_docstring(saved.derivative.loop))
        unpack(writer, [arguments.get(declared.name, "_") for declared in loop.inputs], "reads")
        unpack(writer, [arguments.get(declared.name, "_") for declared in loop.params], "statics")
        unpack(writer, [starts[state.name] for state in loop.states], "starts")
        _write_batch(writer, used, [starts[state.name] for state in loop.states], cell)
        writer.append(body)
        writer.blank()
        writer.line(result)


def _steps_docstring(loop: LoopCell) -> str:
    cell = loop.cell
    states = ", ".join(state.name for state in cell.states)
    direction = ", from the last position to the first" if loop.reverse else ""
    inner = inner_axes(cell)
    rows = (
        ("reads", inner, [(i.name, i.shape, i.kind) for i in cell.inputs]),
        ("statics", (), [(p.name, p.shape, p.kind) for p in cell.params]),
        *(("starts", lead, [(s.name, s.shape, s.kind) for s in states]) for lead, states in borders(cell).items()),
        ("kept", inner, [(o.name, o.value.shape, o.value.kind) for o in cell.outputs]),
    )
    over = " and ".join(cell.axes) if is_grid(cell) else "time"
    return f"{states} over {over}{direction}: what is kept, the last states, what the adjoint needs.\n\n{table(rows)}"


def _write_adjoint(
    name: str, loop_name: str, saved: _Saved, outer: Module, reserved: Sequence[str], writer: Writer
) -> None:
    """The function `name` that is the adjoint of the loop."""
    derivative, loop = saved.derivative, saved.derivative.loop
    adjoint, names, body = derivative.adjoint, Names(derivative.plan.cell, reserved), Writer(depth=1)
    module = Module.of(derivative.plan, names, outer.types, body)
    wide = cotangents(derivative, outer.types) | products_with_computed(loop, derivative.plan.roots)
    inner = AdjointBody(derivative, replace(module, wide=wide))
    inner.write()
    own = dict(inner.names)
    given = {n: own[n] if n in own else names.fresh(n) for n in saved.arrays}
    firsts = {state: names.fresh(f"{state}_first") for state in saved.shifted}
    d_kept = [own.get(adjoint.seeds.get(output.name, ""), "_") for output in loop.cell.outputs]
    d_kept += ["_"] * isinstance(loop.how, Newton)  # statistics have no derivative
    d_lasts = [inner.lasts.get(adjoint.states.get(state.name, ""), "_") for state in loop.cell.states]
    if {*d_lasts, *d_kept} == {"_"}:  # at least one of them, to tell the number of sequences
        d_kept = [names.fresh(adjoint.seeds[o.name]) if o.name in adjoint.seeds else "_" for o in loop.cell.outputs]
    with writer.block(f"def {name}(saved, d_kept, d_lasts, {extent_name(loop.cell)}):"):
        writer.docstring(f"The adjoint of `{loop_name}`: from cotangents of its results to those of its arguments.")
        unpack(writer, [*given.values(), *firsts.values()], "saved")
        unpack(writer, d_kept, "d_kept")
        unpack(writer, d_lasts, "d_lasts")
        _write_batch(writer, identifiers(str(body)), [*d_lasts, *d_kept], loop.cell)
        for state, kept in saved.shifted.items():
            writer.line(f"{own[state]}, _ = {arrived(loop.cell, loop.cell.state(state), firsts[state], given[kept])}")
        writer.append(body)


def _write_batch(writer: Writer, used: Collection[str], arrays: Sequence[str], cell: Cell) -> None:
    """The numbers of sequences and of places on a grid, where text mentions them."""
    if "batch" in used:
        known = next(array for array in arrays if array != "_")
        writer.line(f"batch = {known}.shape[0]")
    if is_grid(cell) and "length" in used:
        writer.line("length = math.prod(extents)")


def _joined(steps: str, adjoint: str, loop: LoopCell, kept: Pieces | None) -> str:
    """The function with its derivative."""
    if kept is None:
        return f"differentiable({steps}, {adjoint})"
    options = [f"size={kept.size}"] if kept.size else []
    options += ["reverse=True"] if loop.reverse else []
    return f"differentiable_in_pieces({', '.join([steps, adjoint, *options])})"
