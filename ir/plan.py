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

from lsrl.ir.cell import GRAPH, Cell, State
from lsrl.ir.cut import minimum_cut
from lsrl.ir.fault import Refusal
from lsrl.ir.graphs import connected
from lsrl.ir.lines import Line, Tap, taps
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import VARYING, Component, components, fed, leaf_of, states_read
from lsrl.ir.schedules.forms import Form, form_of
from lsrl.ir.schedules.how import Chunk, Dag, How, Quadratic, Scan, Sequential, Tiles
from lsrl.ir.value import Value, depends_on, postorder

SEQUENTIAL = Sequential()
INLINE: tuple[type[How], ...] = (Scan, Chunk, Quadratic, Tiles)
"""The schedules that are one operation on whole sequences."""


class PlanError(Refusal):
    """A cell that this way of running cannot serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Values computed for all positions at once, operands first."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """A state whose value at each position is its `next` one position back (`init` at the start).

    A line holds several: its `next` is what it takes in, and `taps` are the values that are parts of it.
    """

    state: State
    line: Line | None = None
    taps: Mapping[Value, Tap] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loop:
    """A recurrence, run position after position.

    Attributes:
        states: carried from step to step.
        reverse: from the last position to the first.
        reads: values that vary with the position, computed before, one slice read at each step.
        statics: values that are the same at every position.
        body: computed at each step, operands first; states' next values among them (or reads, or leaves).
        emits: values of the body, or arriving states, kept for every position because later stages need them.
        how: the schedule that it was given.
    """

    states: tuple[State, ...]
    reverse: bool
    reads: tuple[Value, ...]
    statics: tuple[Value, ...]
    body: tuple[Value, ...]
    emits: tuple[Value, ...]
    how: How = SEQUENTIAL


@dataclass(frozen=True, slots=True)
class Primitive:
    """A recurrence as one operation on whole sequences.

    Attributes:
        states: that it carries; it starts with them and leaves their last values.
        reverse: from the last position to the first.
        how: its schedule.
        form: what it takes, `form.operands`, and makes, `form.results`, for every position.
    """

    states: tuple[State, ...]
    reverse: bool
    how: How
    form: Form


Stage = Parallel | Shift | Loop | Primitive


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cell runs.

    Attributes:
        cell, sizes: what is run (of lines, what they take in), and the number of every size.
        statics: operations on params and constants alone, computed once, operands first (leaves excluded).
        stages: in order of execution.
        lines: the states that are lines outside of recurrences, by name.
    """

    cell: Cell
    sizes: Mapping[str, int]
    statics: tuple[Value, ...]
    stages: tuple[Stage, ...]
    lines: Mapping[str, Line] = field(default_factory=dict)

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
) -> Plan:
    """The straight plan of a cell over time, or over a grid on which every state travels along one axis.

    Args:
        sizes: the number of every size; widths decide which values cross the border of a loop.
        hoist_elementwise: move element-wise work out of loops where that costs no extra traffic; otherwise keep it in.
        hows: schedules by the name of a state; a recurrence runs as its first state that is named, else sequentially.
        inline: the schedules that become primitives; others become loops that say how they are to run.

    Raises:
        PlanError: the cell runs over a graph.
        PipelineError: forward and reversed states depend on each other.
        NotLegal: an inline schedule cannot serve its recurrence.
    """
    if cell.axes == (GRAPH,):
        raise PlanError(f"{cell.name} runs over a graph, which has no axis")
    return _Planner(cell, sizes, hoist_elementwise, hows or {}, inline).plan()


def is_static_product(value: Value, varying: frozenset[Value]) -> bool:
    """Whether the value is a contraction or convolution of a varying operand with a static array (`W @ x`)."""
    if family(value.op) not in (Family.CONTRACTION, Family.STENCIL):
        return False
    spec = str(value.attr("spec")) if value.op == "einsum" else ""
    contracts = value.op != "einsum" or set(spec.split("->")[0]) - {","} != set(spec.split("->")[1])
    return contracts and any(arg not in varying and arg.rank >= 2 for arg in value.args)


_FUSED_BEFORE = ("transpose", "expand")
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
    ) -> None:
        cell, self.lines = fed(cell)
        self.cell = cell
        self.sizes = sizes
        self.late = hoist_elementwise
        parts = components(cell)
        chosen = {part: _how(part, hows) for part in parts if part.cyclic}
        self.forms = {p.states: form_of(cell, p, how, sizes) for p, how in chosen.items() if type(how) in inline}
        self.hows = {state.name: how for part, how in chosen.items() for state in part.states}
        self.operands = tuple(operand for form in self.forms.values() for operand in form.operands)
        self.given = frozenset(result for form in self.forms.values() for result in form.results)
        self.roots = (*cell.roots(), *self.operands)
        self.order = tuple(postorder(self.roots))
        self.varying = depends_on(self.roots, lambda value: value.op in VARYING)
        self.groups = tuple(_groups(cell, parts, self.varying, chosen))
        self.shifts = {s.name: s for part in parts if not part.cyclic for s in part.states}
        self.taps = {value: line.leaf for line in self.lines.values() for value in taps(line, self.order)}
        self.before = {s.name: states_read([s.next]) for s in self.shifts.values()}
        self.ran: set[str] = set()

    def plan(self) -> Plan:
        stages: list[Stage] = []
        done: set[Value] = set()
        for group in self.groups:
            stages += self.recurrence(group, done)
            self.ran.update(state.name for state in group)
        wanted = [*(o.value for o in self.cell.outputs), *(s.next for s in self.shifts.values())]
        stages += self.outside(wanted, done)
        return Plan(self.cell, self.sizes, self.statics(), tuple(stages), self.lines)

    def recurrence(self, states: tuple[State, ...], done: set[Value]) -> Iterator[Stage]:
        """The stages that run one group of states, preceded by what they need."""
        form = self.forms.get(states)
        if form is not None:
            yield from self.outside(form.operands, done)
            yield Primitive(states, states[0].reverse, self.hows[states[0].name], form)
            done.update(form.results)
            return
        loop = self.loop(states, done)
        yield from self.outside(loop.reads, done)
        yield loop
        done.update(loop.emits)

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
        tied = depends_on(self.roots, is_own)
        core = tied & frozenset(postorder(nexts, stop=lambda v: v not in tied))
        leaves = {v for v in self.order if is_own(v)}
        emits = self.emits(tied, core | leaves)
        inside = tied & frozenset(postorder([*nexts, *emits], stop=lambda v: v not in tied))
        reads, before = self.reads(inside, tied, done)
        body = tuple(v for v in self.order if v in before or (v in inside and v not in leaves))
        statics = dict.fromkeys(arg for v in body for arg in v.args if arg not in self.varying)
        return Loop(states, states[0].reverse, reads, tuple(statics), body, emits, self.hows[states[0].name])

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
        return minimum_cut(tuple(fused), arguments.__getitem__, core & set(fused), needed, self.sizes, not self.late)

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
        reads = minimum_cut(vertices, arguments.__getitem__, fixed, needed, self.sizes, self.late)
        between = frozenset(postorder(needed, stop=lambda v: v in reads or v not in self.varying)) & self.varying
        return reads, between - frozenset(reads)

    def fuses_before(self, value: Value) -> bool:
        if family(value.op) is Family.ELEMENTWISE or value.op in _FUSED_BEFORE:
            return True
        return value.op == "einsum" and len(value.args) == 2 and not _sums(value)


def _sums(value: Value) -> bool:
    left, right = str(value.attr("spec")).split("->")
    return bool(set(left) - {","} - set(right))


def _how(part: Component, hows: Mapping[str, How]) -> How:
    return next((hows[state.name] for state in part.states if state.name in hows), SEQUENTIAL)


def _groups(
    cell: Cell, parts: Sequence[Component], varying: frozenset[Value], hows: Mapping[Component, How]
) -> Iterator[tuple[State, ...]]:
    """The recurrences in order of execution; those that light work connects in one direction share a loop."""
    by_state = {state.name: part for part in parts for state in part.states}
    levels: dict[Component, int] = {}
    cyclic: list[Component] = []
    light: list[tuple[Component, Component]] = []
    for part in parts:
        crossings = [(by_state[name], heavy) for name, heavy in _crossings(part, varying)]
        crossings = [(earlier, heavy or not _alike(hows.get(earlier), hows.get(part))) for earlier, heavy in crossings]
        levels[part] = max(
            (_level(part, earlier, heavy, levels) for earlier, heavy in crossings), default=0 if part.cyclic else -1
        )
        if part.cyclic:
            levels[part] = max(levels[part], 0)
            cyclic.append(part)
            light += [(part, e) for e, _ in crossings if e.cyclic and levels[e] == levels[part]]
    merged = sorted(connected(cyclic, light), key=lambda group: _rank(cell, group, levels))
    for group in merged:
        names = {name for part in group for name in part.names}
        yield tuple(state for state in cell.states if state.name in names)


def _alike(first: How | None, second: How | None) -> bool:
    """Whether two recurrences can share a loop, as far as their schedules go; a shift (None) joins any."""
    known = [how for how in (first, second) if how is not None]
    return all(isinstance(how, Sequential | Dag) for how in known) and len({*known}) < 2


def _rank(cell: Cell, group: Iterable[Component], levels: Mapping[Component, int]) -> tuple[int, int]:
    chosen = tuple(group)
    names = {name for part in chosen for name in part.names}
    return levels[chosen[0]], min(place for place, state in enumerate(cell.states) if state.name in names)


def _level(part: Component, earlier: Component, heavy: bool, levels: Mapping[Component, int]) -> int:
    if not part.cyclic:
        return levels[earlier]
    apart = heavy or not earlier.cyclic or earlier.reverse != part.reverse
    return levels[earlier] + (1 if apart else 0)


def _crossings(part: Component, varying: frozenset[Value]) -> Iterator[tuple[str, bool]]:
    """The states of other components that this one reads, and whether a product with a parameter lies between."""
    nexts = [state.next for state in part.states]
    own = depends_on(nexts, leaf_of(part.names))
    heavy = [v for v in postorder(nexts) if v not in own and is_static_product(v, varying)]
    behind = set(states_read(heavy))
    yield from ((name, name in behind) for name in states_read(nexts) if name not in part.names)
