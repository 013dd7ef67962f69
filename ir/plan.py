"""The straight way through a cell along one axis: what is computed once, for all positions at once, and in loops.

A plan is a list of stages.  Values that depend on no state are computed for all positions at once (`Parallel`); a lag
is a shift of a whole sequence, or a window on it (`Shift`); each recurrence becomes a `Loop` that runs only what needs
its states.  Between two recurrences a product with a parameter ends the first loop, so that a stack of layers becomes
a sequence of loops with one large product between; element-wise work does not, so a cell's states share one loop.

A recurrence that a scan or chunks serve needs no loop: a `Primitive` makes its results for all positions from
operands that are known for all positions, and everything around it is parallel work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from lsrl.ir.abreast import loops_abreast
from lsrl.ir.cell import GRAPH, Cell, State
from lsrl.ir.cut import minimum_cut
from lsrl.ir.fault import Refusal
from lsrl.ir.lines import Line, taps
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import VARYING, Component, components, fed, leaf_of, states_read
from lsrl.ir.plan_groups import is_static_product, loop_groups
from lsrl.ir.plan_stages import SEQUENTIAL, Abreast, Loop, Parallel, Primitive, Shift, Stage
from lsrl.ir.schedules.forms import form_of
from lsrl.ir.schedules.grid_tiles import states_together
from lsrl.ir.schedules.how import Chunk, Dag, How, Quadratic, Scan, Tiles, Tree
from lsrl.ir.tiles_abreast import tiles_abreast
from lsrl.ir.value import Value, depends_on, postorder

__all__ = ["SEQUENTIAL", "Abreast", "Loop", "Parallel", "Plan", "Primitive", "Shift", "Stage", "make_plan"]

INLINE: tuple[type[How], ...] = (Scan, Chunk, Quadratic, Tiles, Tree)
"""The schedules that are one operation on whole sequences."""


class PlanError(Refusal):
    """A cell that this way of running cannot serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cell runs.

    Attributes:
        cell, sizes: what is run (of lines, what they take in), and the number of every size.
        statics: operations on params and constants alone, computed once, operands first (leaves excluded).
        stages: in order of execution.
        lines: the states that are lines outside of recurrences, by name.
        abreast: loops among the stages that can run as one.
        tiled: recurrences among the stages that can run in the same tiles at once.
    """

    cell: Cell
    sizes: Mapping[str, int]
    statics: tuple[Value, ...]
    stages: tuple[Stage, ...]
    lines: Mapping[str, Line] = field(default_factory=dict)
    abreast: tuple[Abreast, ...] = ()
    tiled: tuple[tuple[Primitive, ...], ...] = ()

    def beside(self, loop: Loop) -> Abreast:
        """The loops that one can run with, itself included."""
        alone = Abreast((loop,), ({},))
        return next((each for each in self.abreast if any(loop is other for other in each.loops)), alone)

    def tiled_with(self, stage: Primitive) -> tuple[Primitive, ...]:
        """The recurrences that one can run in the same tiles with, itself included."""
        return next((each for each in self.tiled if any(stage is other for other in each)), (stage,))

    @property
    def taps(self) -> tuple[Value, ...]:
        """The values that are parts of lines."""
        return tuple(tap for stage in self.stages if isinstance(stage, Shift) for tap in stage.taps)

    @property
    def roots(self) -> tuple[Value, ...]:
        """The roots of the cell, and what primitives take, which may be more than the cell's graph holds."""
        forms = (stage.form for stage in self.stages if isinstance(stage, Primitive))
        return (*self.cell.roots(), *(operand for form in forms for operand in form.operands))


def make_plan(
    cell: Cell,
    sizes: Mapping[str, int],
    *,
    hoist_elementwise: bool = True,
    hows: Mapping[str, How] | None = None,
    inline: Collection[type[How]] = INLINE,
    near: Collection[Value] = (),
    all_inside: bool = False,
) -> Plan:
    """The straight plan of a cell over time, or over a grid on which every state travels along one axis.

    Args:
        sizes: the number of every size; widths decide which values cross the border of a loop.
        hoist_elementwise: move element-wise work out of loops where that costs no extra traffic; otherwise keep it in.
        hows: schedules by the name of a state; a recurrence runs as its first state that is named, else sequentially.
        inline: the schedules that become primitives; others become loops that say how they are to run.
        near: inputs so large that what is computed from them belongs into the loop that reads them; where there is one
            loop.
        all_inside: compute in the loop whatever it can, in place of one pass over memory for each operation: outputs
            even where sums then tie its axes together, and element-wise work even where it reads more than it gives.

    Raises:
        PlanError: the cell runs over a graph.
        PipelineError: forward and reversed states depend on each other.
        NotLegal: an inline schedule cannot serve its recurrence.
    """
    if cell.axes == (GRAPH,):
        raise PlanError(f"{cell.name} runs over a graph, which has no axis")
    return _Planner(cell, sizes, hoist_elementwise, hows or {}, inline, near, all_inside).plan()


_FUSED_BEFORE = ("transpose", "expand")
_PARTS = ("slice", "select", "flip")
_FUSED_AFTER = ("transpose", "expand", "reduce_sum", "reduce_max", "reduce_min")


class _Planner:
    """Holds what every step of planning looks up: what varies, and which loop computes what."""

    def __init__(
        self,
        cell: Cell,
        sizes: Mapping[str, int],
        hoist_elementwise: bool,
        hows: Mapping[str, How],
        inline: Collection[type[How]],
        near: Collection[Value],
        all_inside: bool,
    ) -> None:
        cell, self.lines = fed(cell)
        self.cell = cell
        self.sizes = sizes
        self.late = hoist_elementwise
        self.all_inside = all_inside
        parts = components(cell, states_together(cell, hows))
        chosen = {part: _how(part, hows) for part in parts if part.cyclic}
        self.forms = {p.states: form_of(cell, p, how, sizes) for p, how in chosen.items() if type(how) in inline}
        self.hows = {state.name: how for part, how in chosen.items() for state in part.states}
        self.operands = tuple(operand for form in self.forms.values() for operand in form.operands)
        self.given = frozenset(result for form in self.forms.values() for result in form.results)
        self.roots = (*cell.roots(), *self.operands)
        self.order = tuple(postorder(self.roots))
        self.varying = depends_on(self.roots, lambda value: value.op in VARYING)
        self.groups = tuple(loop_groups(cell, parts, self.varying, chosen))
        self.directions = {state.name: part.reverse for part in parts for state in part.states}
        self.abreast: list[Abreast] = []
        self.tiled: list[tuple[Primitive, ...]] = []
        self.shifts = {s.name: s for part in parts if not part.cyclic for s in part.states}
        self.near = self.close_to(near) if len(self.groups) == 1 else frozenset()
        self.taps = {value: line.leaf for line in self.lines.values() for value in taps(line, self.order)}
        self.before = {s.name: states_read([s.next]) for s in self.shifts.values()}
        self.ran: set[str] = set()

    def plan(self) -> Plan:
        stages: list[Stage] = []
        done: set[Value] = set()
        for _, level in groupby(self.groups, key=itemgetter(0)):
            stages += self.level([states for _, states in level], done)
        wanted = [*(o.value for o in self.cell.outputs), *(s.next for s in self.shifts.values())]
        stages += self.outside(wanted, done)
        as_one = tuple(self.abreast), tuple(self.tiled)
        return Plan(self.cell, self.sizes, self.statics(), tuple(stages), self.lines, *as_one)

    def level(self, groups: Sequence[tuple[State, ...]], done: set[Value]) -> Iterator[Stage]:
        """The stages that run recurrences none of which needs another."""
        waves = [states for states in groups if isinstance(self.hows[states[0].name], Dag) and states not in self.forms]
        abreast = self.side_by_side(waves, done) if len(waves) > 1 else ()
        yield from self.same_tiles([states for states in groups if states in self.forms], done)
        for states in groups:
            beside = next((each for each in abreast if states in (loop.states for loop in each.loops)), None)
            if beside is None and not self.ran.issuperset(state.name for state in states):
                yield from self.recurrence(states, done)
            elif beside is not None and beside not in self.abreast:
                self.abreast.append(beside)
                yield from self.outside((read for loop in beside.loops for read in loop.reads), done)
                yield from beside.loops
                done.update(value for loop in beside.loops for value in loop.emits)
            self.ran.update(state.name for state in states)

    def recurrence(self, states: tuple[State, ...], done: set[Value]) -> Iterator[Stage]:
        """The stages that run one group of states, preceded by what they need."""
        if states in self.forms:
            stage = self.primitive(states)
            yield from self.outside(stage.form.operands, done)
            yield stage
            done.update(stage.form.results)
            return
        loop = self.loop(states, done)
        yield from self.outside(loop.reads, done)
        yield loop
        done.update(loop.emits)

    def primitive(self, states: tuple[State, ...]) -> Primitive:
        return Primitive(states, self.directions[states[0].name], self.hows[states[0].name], self.forms[states])

    def same_tiles(self, groups: Sequence[tuple[State, ...]], done: set[Value]) -> Iterator[Stage]:
        """The stages of recurrences that can run in the same tiles at once, after all that any of them takes."""
        for alike in tiles_abreast(map(self.primitive, groups)):
            self.tiled.append(alike)
            yield from self.outside((operand for each in alike for operand in each.form.operands), done)
            yield from alike
            done.update(result for each in alike for result in each.form.results)
            self.ran.update(state.name for each in alike for state in each.states)

    def side_by_side(self, waves: Sequence[tuple[State, ...]], done: set[Value]) -> list[Abreast]:
        """Loops that can run as one; element-wise work leaves them where they only then share what is static."""
        found = loops_abreast([self.loop(states, done) for states in waves])
        if self.late or all(each.shares_statics for each in found):
            return found
        self.late = True
        moved = loops_abreast([self.loop(states, done) for states in waves])
        self.late = False
        return moved if moved and all(each.shares_statics for each in moved) else found

    def statics(self) -> tuple[Value, ...]:
        roots = [*self.order, *(state.init for state in self.cell.states)]
        return tuple(v for v in postorder(roots) if v not in self.varying and v.args)

    def outside(self, wanted: Iterable[Value], done: set[Value]) -> Iterator[Stage]:
        """Stages that compute the wanted values for all positions; what they compute is added to `done`."""
        run: list[Value] = []
        for value in self.outside_order(wanted, done):
            if value.op == "state":
                if run:
                    yield Parallel(tuple(run))
                shift = self.shift(self.shifts[str(value.attr("name"))])
                yield shift
                done.update(shift.taps)
                run = []
            elif value.args and value not in done:
                run.append(value)
            done.add(value)
        if run:
            yield Parallel(tuple(run))

    def shift(self, state: State) -> Shift:
        line = self.lines.get(state.name)
        return Shift(state) if line is None else Shift(state, line, taps(line, self.order))

    def outside_order(self, wanted: Iterable[Value], done: set[Value]) -> Iterator[Value]:
        """The values still to compute for the wanted ones, operands first; a shifted state follows its next value."""
        opened: set[Value] = set()
        closed: set[Value] = set()
        stack = list(wanted)[::-1]
        while stack:
            value = stack[-1]
            if value in closed or value in done or value not in self.varying:
                stack.pop()
            elif value in opened:
                stack.pop()
                closed.add(value)
                yield value
            else:
                opened.add(value)
                stack.extend(arg for arg in reversed(self.outside_args(value)))

    def outside_args(self, value: Value) -> tuple[Value, ...]:
        if value in self.taps and value.op != "state":
            return (self.taps[value],)
        return (self.shifts[str(value.attr("name"))].next,) if value.op == "state" else value.args

    def loop(self, states: tuple[State, ...], done: set[Value]) -> Loop:
        is_own = leaf_of(state.name for state in states)
        nexts = [state.next for state in states]
        tied = depends_on(self.roots, is_own) | self.near
        core = tied & frozenset(postorder(nexts, stop=lambda v: v not in tied))
        leaves = {v for v in self.order if is_own(v)}
        emits = self.emits(tied, core | leaves)
        inside = tied & frozenset(postorder([*nexts, *emits], stop=lambda v: v not in tied))
        reads, before = self.reads(inside, tied, done)
        body = tuple(v for v in self.order if v in before or (v in inside and v not in leaves))
        statics = dict.fromkeys(arg for v in body for arg in v.args if arg not in self.varying)
        return Loop(
            states, self.directions[states[0].name], reads, tuple(statics), body, emits, self.hows[states[0].name]
        )

    def emits(self, tied: frozenset[Value], core: frozenset[Value]) -> tuple[Value, ...]:
        """What crosses from the loop to later stages: a minimum cut between its core and what they need."""
        wanted = {o.value for o in self.cell.outputs} | {s.next for s in self.shifts.values()} | {*self.operands}
        made = {state.name for states in self.forms for state in states}
        others = [s.next for s in self.cell.states if s.next not in core and s.name not in made]
        beyond = tied & frozenset(postorder([*wanted, *others], stop=self.given.__contains__))
        early = self.early()
        late = depends_on(self.roots, lambda v: v.op == "state" and v not in core and v.attr("name") not in early)
        fused: dict[Value, None] = {}
        for v in (v for v in self.order if v in beyond):
            joins = self.fuses_after(v) and v not in late and all(a in fused for a in v.args if a in tied)
            if v in core or joins:
                fused[v] = None
        needed = [v for v in fused if v in wanted or self.needed_outside(v, beyond, fused)]
        arguments = {v: () if v in core else tuple(a for a in v.args if a in fused) for v in fused}
        given = {output.value for output in self.cell.outputs} if self.all_inside else ()
        own = core & set(fused)
        return minimum_cut(tuple(fused), arguments.__getitem__, own, needed, self.sizes, not self.late, given)

    def close_to(self, near: Collection[Value]) -> frozenset[Value]:
        """What depends on values that are to be read in the loop alone, unless a product for all positions needs it."""
        products = [value for value in self.order if is_static_product(value, self.varying)]
        outside = frozenset(postorder(products))
        found: set[Value] = set()
        for value in self.order:
            if value not in outside and any(arg in near or arg in found for arg in value.args):
                found.add(value)
        return frozenset(found)

    def early(self) -> frozenset[str]:
        """The states that are known before: of recurrences that ran, and shifts of what no loop computes."""
        known = set(self.ran)
        for name, read in self.before.items():  # each after those that it reads
            known.update({name} if known.issuperset(read) else ())
        return frozenset(known)

    def needed_outside(self, value: Value, beyond: frozenset[Value], fused: Mapping[Value, None]) -> bool:
        return any(value in user.args for user in beyond if user not in fused and user not in self.given)

    def fuses_after(self, value: Value) -> bool:
        light = family(value.op) is Family.ELEMENTWISE or value.op in _FUSED_AFTER
        return light or (value.op == "einsum" and not is_static_product(value, self.varying))

    def reads(
        self, inside: frozenset[Value], tied: frozenset[Value], done: set[Value]
    ) -> tuple[tuple[Value, ...], frozenset[Value]]:
        """What crosses into the loop, and what the loop then computes from it: a minimum cut again."""
        operands = dict.fromkeys(a for v in self.order if v in inside for a in v.args)
        needed = [v for v in operands if v in self.varying and v not in tied]
        vertices = [v for v in postorder(needed, stop=lambda v: v in done) if v in self.varying]
        fixed = {v for v in vertices if v in done or not self.fuses_before(v)}
        arguments = {v: () if v in done else tuple(a for a in v.args if a in self.varying) for v in vertices}
        if self.all_inside:
            reads = tuple(v for v in postorder(needed, stop=fixed.__contains__) if v in fixed)
        else:
            reads = minimum_cut(vertices, arguments.__getitem__, fixed, needed, self.sizes, self.late)
        between = frozenset(postorder(needed, stop=lambda v: v in reads or v not in self.varying)) & self.varying
        return reads, between - frozenset(reads)

    def fuses_before(self, value: Value) -> bool:
        if family(value.op) is Family.ELEMENTWISE or value.op in _FUSED_BEFORE:
            return True
        if self.all_inside and value.op in _PARTS:
            return True
        return value.op == "einsum" and len(value.args) == 2 and not _sums(value)


def _sums(value: Value) -> bool:
    left, right = str(value.attr("spec")).split("->")
    return bool(set(left) - {","} - set(right))


def _how(part: Component, hows: Mapping[str, How]) -> How:
    return next((hows[state.name] for state in part.states if state.name in hows), SEQUENTIAL)
