"""What a plan is made of: work for all positions at once, shifts, loops, and operations on whole sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lsrl.ir.cell import State
from lsrl.ir.lines import Line, Tap
from lsrl.ir.schedules.forms import Form
from lsrl.ir.schedules.how import How, Sequential
from lsrl.ir.value import Value

SEQUENTIAL = Sequential()


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
        reverse: the axes on which it runs from the last position to the first.
        reads: values that vary with the position, computed before, one slice read at each step.
        statics: values that are the same at every position.
        body: computed at each step, operands first; states' next values among them (or reads, or leaves).
        emits: values of the body, or arriving states, kept for every position because later stages need them.
        how: the schedule that it was given.
    """

    states: tuple[State, ...]
    reverse: frozenset[str]
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
        reverse: the axes on which it runs from the last position to the first.
        how: its schedule.
        form: what it takes, `form.operands`, and makes, `form.results`, for every position.
    """

    states: tuple[State, ...]
    reverse: frozenset[str]
    how: How
    form: Form


@dataclass(frozen=True, slots=True)
class Abreast:
    """Loops that do not need each other and are the same but for their directions and for what they take.

    In the plan they stand one behind the other, after all that they read; they can run as one.

    Attributes:
        loops: the first is the one that runs for all.
        roles: for each loop, the value that plays the part of each value of the first.
    """

    loops: tuple[Loop, ...]
    roles: tuple[Mapping[Value, Value], ...]

    def turns(self, axes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """For each loop the numbers of the axes on which it runs from the last place to the first."""
        return turns(self.loops, axes)

    def is_plain(self, axes: Sequence[str]) -> bool:
        """Whether it is a single loop that runs forward, or backward on all axes."""
        return len(self.loops) == 1 and len(self.loops[0].reverse) in (0, len(axes))

    @property
    def shares_statics(self) -> bool:
        """Whether what is the same at every position is so for all of them."""
        return len({*self.played(self.loops[0].statics)}) == 1

    @property
    def names(self) -> str:
        """The states that they carry."""
        return ", ".join(state.name for loop in self.loops for state in loop.states)

    @property
    def in_words(self) -> str:
        """How many run as one; empty where one runs by itself."""
        return as_one_in_words(self.loops)

    @property
    def forward(self) -> Loop:
        """The loop that runs for all, once what they take is turned round."""
        return replace(self.loops[0], reverse=frozenset())

    @property
    def split(self) -> tuple[Abreast, ...]:
        """Its loops one by one."""
        return tuple(Abreast((loop,), ({},)) for loop in self.loops)

    def played(self, values: Iterable[Value]) -> tuple[tuple[Value, ...], ...]:
        """For each loop, what plays the parts of these values of the first."""
        wanted = tuple(values)
        return tuple(tuple(role.get(value, value) for value in wanted) for role in self.roles)


def turns(recurrences: Sequence[Loop | Primitive], axes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each recurrence the numbers of the axes on which it runs from the last place to the first."""
    return tuple(tuple(n for n, axis in enumerate(axes) if axis in each.reverse) for each in recurrences)


def as_one_in_words(recurrences: Sequence[Loop | Primitive]) -> str:
    """How many run as one; empty where one runs by itself."""
    if len(recurrences) == 1:
        return ""
    ways = len({each.reverse for each in recurrences})
    return f"{len(recurrences)} {'directions' if ways == len(recurrences) else 'recurrences'} in one pass"


Stage = Parallel | Shift | Loop | Primitive
