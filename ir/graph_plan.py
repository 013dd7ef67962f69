"""How a cell runs over a graph: what is computed at all places at once, and the step that runs level by level.

The step computes what the edges out of some nodes pass on from what arrives along the edges into them.  In it a value
of an edge is meant at an edge that enters or at one that leaves; the same value can be needed at both.  One that does
not depend on states is read twice.  One that does, and is computed where its edge leaves, is passed on like a state to
where the edge enters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, Cell, Output, State
from lsrl.ir.fault import Refusal
from lsrl.ir.schedules.rounds_form import RoundsForm, rounds_form
from lsrl.ir.substitute import moved_names, moved_spans, with_args
from lsrl.ir.value import Domain, Value, depends_on, postorder


class GraphPlanError(Refusal):
    """A cell over a graph that has no levels; the message names the state."""


class Frame(StrEnum):
    """Where, seen from the nodes of a level, a value is meant."""

    NODES = "nodes"
    ENTERING = "entering"
    LEAVING = "leaving"
    TURNS = "turns"


SUMS = ("sum_in", "max_in")
READ_FROM = {
    "edge.from": Frame.NODES,
    "edge.to": Frame.NODES,
    "turn.node": Frame.NODES,
    "turn.in": Frame.ENTERING,
    "turn.out": Frame.LEAVING,
}
"""What `read` reads, by its `via`; and what sums give."""
READ_AT = {
    "edge.from": Frame.LEAVING,
    "edge.to": Frame.ENTERING,
    "turn.node": Frame.TURNS,
    "turn.in": Frame.TURNS,
    "turn.out": Frame.TURNS,
}
"""Where the result of `read` is, by its `via`; and what sums collect."""


@dataclass(frozen=True, slots=True)
class Read:
    """A value without states that the step reads.

    Attributes:
        value: computed at all places.
        frame: where it is read.
        leaf: what stands for it in the step.
    """

    value: Value
    frame: Frame
    leaf: Value


@dataclass(frozen=True, slots=True)
class Levels:
    """The step of a cell over a graph.

    Attributes:
        cell: the step as a cell: its states are what arrives, their `next` what is passed on; its inputs are reads.
        frames: where each value of the step is that lives anywhere.
        reads: what it reads of all places.
        statics: what it uses that is the same everywhere.
    """

    cell: Cell
    frames: Mapping[Value, Frame]
    reads: tuple[Read, ...]
    statics: tuple[Value, ...]

    @property
    def states(self) -> tuple[State, ...]:
        return self.cell.states

    @property
    def arriving(self) -> tuple[Value, ...]:
        """The leaf of every state, in order."""
        return tuple(arriving(state) for state in self.states)

    @property
    def body(self) -> tuple[Value, ...]:
        """What the step computes, operands first."""
        order = postorder(state.next for state in self.states)
        return tuple(value for value in order if value.args and value in self.frames)


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """How a cell runs over a graph.

    Attributes:
        cell, sizes: what is run, and the number of every size.
        levels: the step of its states; None where it has none.
        system: what is solved in rounds instead, where the schedule says so.
    """

    cell: Cell
    sizes: Mapping[str, int]
    levels: Levels | None
    system: RoundsForm | None = None

    @property
    def arriving(self) -> tuple[Value, ...]:
        """The leaf of every state of the cell, in order."""
        return tuple(arriving(state) for state in self.cell.states)

    @property
    def roots(self) -> tuple[Value, ...]:
        """What is computed at all places: what the step or the system needs, and outputs."""
        if self.system is not None:
            return (*self.system.operands, *(output.value for output in self.cell.outputs))
        needed = (*(read.value for read in self.levels.reads), *self.levels.statics) if self.levels else ()
        return (*needed, *(output.value for output in self.cell.outputs))


def make_graph_plan(cell: Cell, sizes: Mapping[str, int], *, rounds: bool = False) -> GraphPlan:
    """The plan of a cell over a graph.

    Args:
        rounds: the states are solved in rounds.

    Raises:
        GraphPlanError: a state is read other than through the edges into a node, or is reversed.
        NotLegal: the states are no system for rounds.
    """
    for state in cell.states:
        if state.reverse:
            raise GraphPlanError(f"{state.name} is reversed; a graph has one direction, that of its edges")
    levels = _Step(cell).levels() if cell.states else None
    return GraphPlan(cell, sizes, levels, rounds_form(cell, sizes) if rounds else None)


def arriving(state: State) -> Value:
    """The leaf that stands for the state of each edge."""
    return ops.state(state.name, GRAPH, state.shape, state.kind, state.domain)


def operand_frame(value: Value, arg: Value, frame: Frame) -> Frame:
    """Where an operand of a value in a frame is."""
    via = str(value.attr("via")) if value.op == "read" or value.op in SUMS else ""
    if via:
        return (READ_FROM if value.op == "read" else READ_AT)[via]
    return frame


Place = tuple[Value, Frame]


@dataclass
class _Step:
    """The step while it is built; `done` has what each value in a frame becomes."""

    cell: Cell
    done: dict[Place, Value] = field(default_factory=dict)
    reads: dict[Place, Read] = field(default_factory=dict)
    crossing: dict[Value, State] = field(default_factory=dict)
    tied: frozenset[Value] = frozenset()
    natural: dict[Value, Frame] = field(default_factory=dict)

    def levels(self) -> Levels:
        self.tied = depends_on(self.cell.roots(), lambda value: value.op == "state")
        for state in self.cell.states:
            self.place_of_tied(state)
        states = [replace(state, next=self.built(state.next, Frame.LEAVING)) for state in self.cell.states]
        for value in self.crossings():
            crossed = self.crossing[value]
            states.append(replace(crossed, next=self.built(value, Frame.LEAVING)))
        frames = {built: frame for (_, frame), built in self.done.items() if built.domain}
        moved = {value: built for (value, _), built in self.done.items()}
        step = replace(
            self.cell,
            inputs=(),
            params=(),
            noises=(),
            states=tuple(states),
            outputs=tuple(Output(f"{state.name}'", state.next) for state in states),
            names=moved_names(self.cell.names, moved),
            spans=moved_spans(self.cell.spans, moved),
        )
        return Levels(step, frames, tuple(self.reads.values()), tuple(_statics(states, frames)))

    def crossings(self) -> Iterator[Value]:
        """Values that are passed on; building one may add others."""
        seen = 0
        while seen < len(self.crossing):
            yield list(self.crossing)[seen]
            seen += 1

    def place_of_tied(self, state: State) -> None:
        """Where each value that a state's next one depends on is computed first.

        Raises:
            GraphPlanError: that is not where the edges leave.
        """
        for value in postorder([state.next]):
            if value in self.tied and value not in self.natural:
                self.natural[value] = self.frame_of(value, state)
        if self.natural.get(state.next, Frame.LEAVING) is not Frame.LEAVING:
            raise GraphPlanError(f"{state.name}' reads states other than those of edges into the node it starts from")

    def frame_of(self, value: Value, state: State) -> Frame:
        if value.domain is Domain.NODE:
            return Frame.NODES
        if value.domain is Domain.TURN:
            return Frame.TURNS
        if value.op == "state":
            return Frame.ENTERING
        if value.domain is Domain.NONE:
            raise GraphPlanError(f"{state.name}' needs a sum over the whole graph, of which it is a part")
        if value.op == "read" or value.op in SUMS:
            return (READ_AT if value.op == "read" else READ_FROM)[str(value.attr("via"))]
        frames = {self.natural[arg] for arg in value.args if arg in self.tied}
        return Frame.ENTERING if Frame.ENTERING in frames else Frame.LEAVING

    def built(self, root: Value, frame: Frame) -> Value:
        """A value of the cell as the step computes it in a frame."""
        stack: list[Place] = [(root, frame)]
        while stack:
            value, at = stack[-1]
            found = self.found(value, at)
            if found is not None:
                self.done[value, at] = found
                stack.pop()
                continue
            operands = [(arg, operand_frame(value, arg, at)) for arg in value.args]
            waiting = [each for each in operands if each not in self.done]
            if waiting:
                stack.extend(waiting)
                continue
            self.done[value, at] = with_args(value, [self.done[each] for each in operands])
            stack.pop()
        return self.done[root, frame]

    def found(self, value: Value, frame: Frame) -> Value | None:
        """What needs no operands: done before, the same everywhere, read, or arriving.

        Raises:
            GraphPlanError: what arrives along an edge is needed before the edge is passed.
        """
        if (value, frame) in self.done:
            return self.done[value, frame]
        if value.domain is Domain.NONE:
            return value
        if value not in self.tied:
            return None if value.op == "expand" else self.read(value, frame)  # repeated after it is read
        natural = self.natural[value]
        if natural is Frame.LEAVING and frame is Frame.ENTERING:
            return self.passed_on(value)
        if natural is Frame.ENTERING and frame is Frame.LEAVING:
            name = self.cell.names.get(value, "a value of an edge")
            raise GraphPlanError(f"{name} is needed where its edge leaves a node, and known where it enters the next")
        return value if value.op == "state" else None

    def read(self, value: Value, frame: Frame) -> Value:
        if (value, frame) not in self.reads:
            leaf = ops.leaf("input", self.name(value, frame), value.shape, value.kind, value.domain)
            self.reads[value, frame] = Read(value, frame, leaf)
        return self.reads[value, frame].leaf

    def name(self, value: Value, frame: Frame) -> str:
        leaf = str(value.attr("name")) if value.op in ("input", "noise") else ""
        known = leaf or self.cell.names.get(value, f"read{len(self.reads)}")
        name = f"{known}.in" if frame is Frame.ENTERING and value.op != "input" else known
        taken = {str(read.leaf.attr("name")) for read in self.reads.values()}
        return name if name not in taken else f"{name}.{frame}{len(self.reads)}"

    def passed_on(self, value: Value) -> Value:
        """The state that carries a value along its edge."""
        if value not in self.crossing:
            name = f"{self.cell.names.get(value, 'passed')}.{len(self.crossing)}"
            zero = next(state.init for state in self.cell.states)  # a graph has no start, so no state has one
            state = State(name, value.shape, value.kind, (GRAPH,), zero, value, domain=Domain.EDGE, hidden=True)
            self.crossing[value] = state
        return arriving(self.crossing[value])


def _statics(states: Sequence[State], frames: Mapping[Value, Frame]) -> Iterable[Value]:
    """What the step uses of params, and of inputs that are the same everywhere; constants it writes itself."""
    order = postorder(state.next for state in states)
    ends = [state.next for state in states if not state.next.domain]
    used = dict.fromkeys([*(arg for value in order if value in frames for arg in value.args if not arg.domain), *ends])
    computed = depends_on(used, lambda value: value.op in ("param", "input", "noise"))
    return [value for value in used if value in computed or value.args]
