"""The stages of a plan as statements of PyTorch on whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from lsrl.backends.expressions import tupled
from lsrl.backends.line import LineSite, write_line
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.newton_cell import TOLD
from lsrl.backends.places import arrived, inner_axes, loop_extent
from lsrl.backends.primitive_site import Site
from lsrl.backends.thin import constant_leaves
from lsrl.backends.torch_directions import directed_call, runs
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_primitives import write_primitive
from lsrl.ir.cell import State
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.plan import Abreast, Loop, Parallel, Plan, Primitive, Shift, Stage
from lsrl.ir.schedules.how import Newton
from lsrl.ir.value import Value, postorder, users

Functions = Mapping[int, tuple[str, LoopCell]]


class Stages:
    """The body of a function that runs a plan, while it is written.

    Args:
        frame: of all positions.
        functions: for each loop, by its place among the stages, the function that runs it.
        starts: the expression of every state before the first position.
        results: values that must be known in the end.

    Attributes:
        statements: how each value known so far is written.
        final: the expression of every state after the last position.
        statistics: names of what is told about how recurrences ran, by the names of their states.
    """

    def __init__(
        self, plan: Plan, frame: Frame, functions: Functions, starts: Mapping[str, str], results: Iterable[Value]
    ) -> None:
        self.plan, self.frame, self.functions, self.starts = plan, frame, functions, starts
        self.cell, self.writer = frame.cell, frame.writer
        self.order = tuple(postorder(plan.roots))
        self.users = users(plan.roots)
        self.statements = frame.statements()
        self.final: dict[str, str] = {}
        self.statistics: dict[str, list[str]] = {}
        self.runs = runs(plan)
        arguments = list(self.played(lambda loop: (*loop.reads, *loop.statics)))
        forms = [stage.form for stage in plan.stages if isinstance(stage, Primitive)]
        arguments += [operand for form in forms for operand in form.operands]
        shifted = [state.next for state in self.shifts()]
        self.wanted = frozenset([*results, *arguments, *shifted])
        kept = {*self.played(lambda loop: loop.emits)}
        kept |= {result for form in forms for result in form.results}
        kept.update(plan.taps)
        self.needed = frozenset(postorder(self.wanted, stop=kept.__contains__))

    def played(self, part: Callable[[LoopCell], Iterable[Value]]) -> Iterator[Value]:
        """What loops take or give, those included that run with another."""
        for place, (_, loop) in self.functions.items():
            yield from chain.from_iterable(self.runs[place].played(part(loop)))

    def write(self) -> None:
        for place, stage in enumerate(self.plan.stages):
            self.writer.blank()
            self.writer.forget_origins()
            self.stage(place, stage)
        for state in self.shifts():
            if state.name not in self.final:
                self.shift(Shift(state, self.plan.lines.get(state.name)))

    def shifts(self) -> list[State]:
        """States that no recurrence carries."""
        recurrent = (stage for stage in self.plan.stages if isinstance(stage, Loop | Primitive))
        carried = {state.name for stage in recurrent for state in stage.states}
        return [state for state in self.cell.states if state.name not in carried]

    def stage(self, place: int, stage: Stage) -> None:
        match stage:
            case Parallel(values):
                self.parallel([value for value in values if value in self.needed])
            case Shift():
                self.shift(stage)
            case Loop() if place not in self.runs:
                pass  # it runs with an earlier one
            case Loop() if self.runs[place].is_plain(self.cell.axes):
                self.loop(*self.functions[place], stage)
            case Loop():
                self.directed(*self.functions[place], self.runs[place])
            case Primitive():
                self.primitive(stage)

    def parallel(self, values: Sequence[Value]) -> None:
        """Values for all positions, with what they need that is the same at every position."""
        own = [*self.missing_statics(values), *values]
        self.statements.write(own, self.wanted_elsewhere(own))

    def missing_statics(self, values: Iterable[Value]) -> list[Value]:
        """What the values need of constants and operations on params that is not written yet."""
        known = self.statements.codes
        cone = list(postorder(values, stop=lambda v: v in known))
        leaves = constant_leaves(cone)
        static = [v for v in cone if v not in self.frame.varying and (v.args or v in leaves)]
        return [v for v in static if v not in known]

    def wanted_elsewhere(self, values: Sequence[Value]) -> frozenset[Value]:
        """Those of the values that something else than these values uses."""
        own = frozenset(values)
        constants = frozenset(constant_leaves(values))

        def leaves(value: Value) -> bool:
            return any(user not in own and user in self.needed for user in self.users.get(value, ()))

        return frozenset(v for v in values if v not in constants and (v in self.wanted or leaves(v)))

    def shift(self, shift: Shift) -> None:
        """A lag: the sequence of `next` one position later; of a line, the parts of it that are needed."""
        state = shift.state
        statics = self.missing_statics([state.next])
        self.statements.write(statics, {*statics})
        if shift.line is not None:
            following = self.frame.array(state.next, self.statements.codes).wide()
            site = LineSite(self.writer, self.frame.names, self.needed.__contains__, self.statements.bind)
            self.final[state.name] = write_line(shift, self.starts[state.name], str(following.code), site)
            return
        leaf = next((v for v in self.order if v.op == "state" and v.attr("name") == state.name), None)
        name = "_" if leaf is None else self.statements.bind(leaf)
        last = self.frame.names.fresh(f"{state.name}_last" if leaf is None else f"{name}_last")
        following = self.frame.array(state.next, self.statements.codes).wide()
        shape = shape_text((*shape_of(*inner_axes(self.cell)), *state.shape))
        code = arrived(self.cell, state, self.starts[state.name], following.code)
        self.writer.line(f"{name}, {last} = {code}", shape)
        self.final[state.name] = last

    def loop(self, function: str, loop: LoopCell, stage: Loop) -> None:
        """A recurrence: a call of the function that runs it."""
        statics = self.missing_statics(loop.statics)
        self.statements.write(statics, {*loop.statics} & {*statics})
        names = self.frame.names
        arguments = [str(self.statements.codes[v]) for v in (*loop.reads, *self.static_arguments(loop))]
        arguments += [self.starts[state.name] for state in stage.states]
        arguments += loop_extent(self.cell, bool(loop.reads))
        last = [names.fresh(f"{state.name}_last") for state in stage.states]
        results = [*(names[v] for v in loop.emits), *last]
        if isinstance(loop.how, Newton):
            own = [state.name for state in stage.states]
            told = [names.fresh(f"{'_'.join(own)}_{word}") for word in TOLD]
            self.statistics[", ".join(own)] = told
            results += told
        comma = "," if len(results) == 1 else ""
        self.writer.line(f"{', '.join(results)}{comma} = {function}({', '.join(arguments)})")
        for value in loop.emits:
            self.statements.bind(value)
        self.final |= {state.name: name for state, name in zip(stage.states, last, strict=True)}

    def directed(self, function: str, loop: LoopCell, beside: Abreast) -> None:
        """Recurrences that run as one, or backward on some axes: a call of the function that runs them forward."""
        statics = self.missing_statics(loop.statics)
        self.statements.write(statics, {*loop.statics} & {*statics})
        names, codes = self.frame.names, self.statements.codes
        reads = [[str(codes[value]) for value in values] for values in beside.played(loop.reads)]
        shared = [str(codes[value]) for value in self.static_arguments(loop)]
        starts = [[self.starts[state.name] for state in each.states] for each in beside.loops]
        lasts = [[names.fresh(f"{state.name}_last") for state in each.states] for each in beside.loops]
        kept = beside.played(loop.emits)
        results = [tupled([*(names[v] for v in own), *last]) for own, last in zip(kept, lasts, strict=True)]
        call = directed_call(function, beside, self.cell, (reads, shared, starts))
        self.writer.line(f"{tupled(results)} = {call}")
        for value in chain.from_iterable(kept):
            self.statements.bind(value)
        for each, last in zip(beside.loops, lasts, strict=True):
            self.final |= {state.name: name for state, name in zip(each.states, last, strict=True)}

    def primitive(self, stage: Primitive) -> None:
        """A recurrence as one operation on whole sequences, with those in the same tiles."""
        if any(state.name in self.final for state in stage.states):
            return  # it ran with an earlier one
        stages = self.plan.tiled_with(stage)
        statics = self.missing_statics([operand for each in stages for operand in each.form.operands])
        self.statements.write(statics, {*statics})
        codes = self.statements.codes
        site = Site(
            self.writer,
            self.frame.names,
            self.frame.numbers,
            self.starts,
            lambda value: self.frame.operand(value, codes).wide().code,
            lambda value: self.frame.array(value, codes).wide().code,
            self.frame.varying.__contains__,
            self.needed.__contains__,
            self.statements.bind,
            self.frame.types.data if self.frame.types.narrow else "",
        )
        self.final |= write_primitive(stages, site)

    def static_arguments(self, loop: LoopCell) -> list[Value]:
        for value in loop.statics:
            if value not in self.statements.codes:
                self.statements.codes[value] = self.frame.operand(value, self.statements.codes).code
        return list(loop.statics)
