"""How recurrences run: directives such as `h=sequential`, what they are checked against, what `auto` chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.pipeline import Component, components

AUTO, SEQUENTIAL = "auto", "sequential"
PLANNED = ("scan", "chunk", "newton", "dag", "parallel")


class ScheduleError(Refusal):
    """A schedule that this version does not have, or that names no recurrence of the program."""


@dataclass(frozen=True, slots=True)
class Directive:
    """How one recurrence runs; its states by name."""

    states: tuple[str, ...]
    how: str

    def __str__(self) -> str:
        return f"{self.states[0]}={self.how}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One directive for each recurrence of a program, in the order in which they run."""

    directives: tuple[Directive, ...]

    def __str__(self) -> str:
        """The text that `resolve` reads back: `h=sequential,c=sequential`; `auto` where there is no recurrence."""
        return ",".join(map(str, self.directives)) or AUTO


def resolve(cell: Cell, text: str = AUTO) -> Schedule:
    """The schedule that a text asks for.

    Args:
        text: `auto`, `sequential` for every recurrence, or directives `STATE=sequential` with commas between them;
            recurrences without a directive run as `auto` chooses.

    Raises:
        ScheduleError: a directive asks for what this version cannot do, or names no state of a recurrence.
    """
    recurrences = [part for part in components(cell) if part.cyclic]
    for directive in text.split(","):
        name, sign, how = directive.strip().rpartition("=")
        _check_how(how)
        if sign:
            _check_name(cell, name, recurrences)
    return Schedule(tuple(Directive(_names(part), SEQUENTIAL) for part in recurrences))


def _check_how(how: str) -> None:
    word = how.partition("(")[0].strip()
    if word in PLANNED:
        raise ScheduleError(f"`{word}` is not available yet; this version runs every recurrence sequentially")
    if word not in (AUTO, SEQUENTIAL):
        known = ", ".join((AUTO, SEQUENTIAL, *PLANNED))
        raise ScheduleError(f"there is no schedule `{how}`; schedules are {known}, the last {len(PLANNED)} not yet")


def _check_name(cell: Cell, name: str, recurrences: Sequence[Component]) -> None:
    known = [state for part in recurrences for state in _names(part)]
    if name not in known:
        raise ScheduleError(f"{cell.name} has no recurrence `{name}`; its recurrences are {', '.join(known) or 'none'}")


def _names(part: Component) -> tuple[str, ...]:
    return tuple(state.name for state in part.states)
