"""The stages of a plan in the body of one JAX function: parallel work, shifts and recurrences, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lsrl.backends.jax_module import SEQUENCE, Module
from lsrl.backends.jax_primitives import write_primitive
from lsrl.backends.line import LineSite, write_line
from lsrl.backends.places import arrived, inner_axes
from lsrl.backends.primitive_site import Site, needed
from lsrl.backends.thin import constant_leaves
from lsrl.ir.cell import State
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.plan import Abreast, Loop, Parallel, Primitive, Shift, Stage
from lsrl.ir.value import Value, postorder, users

LoopWriter = Callable[["Stages", Abreast], None]


class Stages:
    """The stages while they are written.

    Attributes:
        module, cell, writer: what is run, and where text goes.
        leaves: inputs, params, noises and states by operation and name.
        statements: how each value known here is written.
        starts: the expression of every initial state, [B, *shape].
        final: the expression of every last state that is known.
        statistics: names of what is told about how recurrences ran, by the names of their states.
    """

    def __init__(self, module: Module, starts: Mapping[str, str], write_loop: LoopWriter) -> None:
        """`write_loop` writes recurrences that run as one: where they stand, or as the call of a function."""
        self.module = module
        self.cell = module.cell
        self.writer = module.writer
        self.starts = starts
        self.write_loop = write_loop
        roots = [*module.plan.roots, *(arg for noise in self.cell.noises for arg in noise.draw.args)]
        leaves = [v for v in postorder(roots) if v.op in ("input", "param", "noise", "state")]
        self.leaves = {(v.op, str(v.attr("name"))): v for v in leaves}
        self.users = users(roots)
        self.statements = module.statements(SEQUENCE)
        self.final: dict[str, str] = {}
        self.statistics: dict[str, str] = {}

    def write(self) -> None:
        """Every stage, then the shifts of states that nothing reads, and what outputs need that is static."""
        before: Stage | None = None
        for stage in self.module.plan.stages:
            if not (isinstance(stage, Shift) and isinstance(before, Shift)):
                self.writer.blank()
            self.writer.forget_origins()
            self.stage(stage)
            before = stage
        unread = [s for s in self.cell.states if s.name not in self.final]
        if unread:
            self.writer.blank()
        for state in unread:
            self.shift(Shift(state, self.module.plan.lines.get(state.name)))  # nothing reads it, but it is passed on
        self.write_statics([output.value for output in self.cell.outputs])

    def stage(self, stage: Stage) -> None:
        match stage:
            case Parallel(values):
                self.parallel(values)
            case Shift():
                self.shift(stage)
            case Loop():
                self.loop(stage)
            case Primitive():
                self.primitive(stage)

    def parallel(self, values: Sequence[Value]) -> None:
        """Values for all positions, with what they need that is the same at every position."""
        own = [*self.missing_statics(values), *values]
        self.statements.write(own, self.wanted_elsewhere(own))

    def missing_statics(self, values: Iterable[Value]) -> list[Value]:
        """What the values need of constants and operations on params that is not written yet."""
        static = frozenset(self.module.plan.statics)
        known = self.statements.codes
        cone = list(postorder(values, stop=lambda v: v in known))
        leaves = constant_leaves(cone)
        return [v for v in cone if (v in static or v in leaves) and v not in known]

    def write_statics(self, values: Iterable[Value]) -> None:
        """What the values need that is the same at every position, each under a name."""
        statics = self.missing_statics(values)
        self.statements.write(statics, statics)

    def wanted_elsewhere(self, values: Sequence[Value]) -> frozenset[Value]:
        """Those of the values that something else than these values uses."""
        own = frozenset(values)
        roots = {*self.cell.roots(), *(r for s in self.module.plan.stages for r in _crossing(s))}
        light = frozenset(constant_leaves(values))

        def goes_on(value: Value) -> bool:
            beyond = any(user not in own for user in self.users.get(value, ()))
            return beyond and value not in light and not self.statements.pieces(value)

        return frozenset(value for value in values if value in roots or goes_on(value))

    def shift(self, shift: Shift) -> None:
        """A lag: the sequence of `next` one position later, and its end; of a line, the parts of it that are needed."""
        state = shift.state
        self.write_statics([state.next])
        if shift.line is not None:
            following = self.module.array(state.next, self.statements.codes, SEQUENCE)
            wanted = needed(self.module.plan)
            site = LineSite(self.writer, self.module.names, wanted.__contains__, self.statements.bind)
            self.final[state.name] = write_line(shift, self.starts[state.name], str(following), site)
            return
        leaf = self.leaves.get(("state", state.name))
        arriving = "_" if leaf is None else self.statements.bind(leaf)
        last = self.module.names.fresh(f"{state.name if leaf is None else arriving}_last")
        following = self.module.array(state.next, self.statements.codes, SEQUENCE)
        remark = shape_text((*shape_of(*inner_axes(self.cell)), *state.shape))
        code = arrived(self.cell, state, self.starts[state.name], following)
        self.writer.line(f"{arriving}, {last} = {code}", remark)
        self.final[state.name] = last

    def loop(self, loop: Loop) -> None:
        """A recurrence with those that run with it, preceded by what they need that is the same at every position."""
        if any(state.name in self.final for state in loop.states):
            return  # it ran with an earlier one
        beside = self.module.plan.beside(loop)
        outside = self.missing_statics([value for each in beside.loops for value in (*each.statics, *each.body)])
        self.statements.write(outside, self.wanted_elsewhere(outside))
        self.writer.blank()
        self.write_loop(self, beside)

    def primitive(self, stage: Primitive) -> None:
        """A recurrence as one operation on whole sequences, with those in the same tiles."""
        if any(state.name in self.final for state in stage.states):
            return  # it ran with an earlier one
        stages = self.module.plan.tiled_with(stage)
        self.write_statics([operand for each in stages for operand in each.form.operands])
        codes = self.statements.codes
        site = Site(
            self.writer,
            self.module.names,
            self.module.plan.sizes,
            self.starts,
            lambda value: self.module.operand(value, codes, self.module.place(SEQUENCE)).code,
            lambda value: self.module.array(value, codes, SEQUENCE),
            self.module.varying.__contains__,
            needed(self.module.plan).__contains__,
            self.statements.bind,
        )
        self.final |= write_primitive(stages, site)

    def passed_on(self, states: Sequence[State]) -> list[str]:
        """Names for the last states of a loop, which are known from now on."""
        names = self.module.names
        leaves = [self.leaves["state", state.name] for state in states]
        last = [names.fresh(f"{names[leaf]}_last") for leaf in leaves]
        self.final |= {state.name: name for state, name in zip(states, last, strict=True)}
        return last


def _crossing(stage: Stage) -> Iterable[Value]:
    match stage:
        case Loop():
            return (*stage.reads, *stage.statics)
        case Shift(state):
            return (state.next,)
        case Primitive():
            return stage.form.operands
        case _:
            return ()
