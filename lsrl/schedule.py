"""How recurrences run: directives such as `h=scan`, what they are checked against, what `auto` chooses."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.schedules.choose import chosen
from lsrl.ir.schedules.cost import Run
from lsrl.ir.schedules.how import How, Tiles, Tree, parse_how
from lsrl.ir.schedules.legal import Possible

AUTO, SEQUENTIAL = "auto", "sequential"
_COMMA = re.compile(r",(?![^(]*\))")  # outside of brackets


class ScheduleError(Refusal):
    """A schedule that does not serve a recurrence, or that names no recurrence of the program."""


@dataclass(frozen=True, slots=True)
class Directive:
    """How one recurrence runs; its states by name."""

    states: tuple[str, ...]
    how: How

    def __str__(self) -> str:
        return f"{self.states[0]}={self.how}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One directive for each recurrence of a program, in the order in which they run."""

    directives: tuple[Directive, ...]

    @property
    def hows(self) -> dict[str, How]:
        """The schedule of every state that feeds back into itself, by name."""
        return {name: directive.how for directive in self.directives for name in directive.states}

    def __str__(self) -> str:
        """The text that `resolve` reads back: `h=scan,c=sequential`; `auto` where there is no recurrence."""
        return ",".join(map(str, self.directives)) or AUTO


def resolve(cell: Cell, found: Sequence[Possible], text: str = AUTO, run: Run | None = None) -> Schedule:
    """The schedule that a text asks for.

    Args:
        found: the recurrences of the cell, `lsrl.ir.schedules.legal.possible`.
        text: `auto`; one schedule for every recurrence, `scan`; or directives `STATE=chunk(64)` with commas between
            them.  Recurrences without a directive run as `auto` chooses: the cheapest legal schedule by the model.
        run: what `auto` reckons with.

    Raises:
        HowError: there is no such schedule.
        ScheduleError: a schedule does not serve its recurrence, or a directive names no recurrence.
    """
    asked = _asked(cell, found, text)
    asked |= {names: how for each in found for names, how in _in_the_same_tiles(each, found, asked)}
    setting = run or Run()
    directives = []
    for each in found:
        how = asked[each.names]
        if how is None:
            how = chosen(_beside(each, found, asked), setting)
        else:
            _check_legal(each, how)
        directives.append(Directive(each.names, how))
    return Schedule(tuple(directives))


def _asked(cell: Cell, found: Sequence[Possible], text: str) -> dict[tuple[str, ...], How | None]:
    """What is asked of each recurrence; None leaves it to the model."""
    everywhere: How | None = None
    named: dict[tuple[str, ...], How | None] = {}
    for name, how in _directives(text):
        if not name:
            everywhere = how
            continue
        names = _recurrence(cell, name, [each.names for each in found])
        if named.setdefault(names, how) != how:
            ways = f"`{named[names] or AUTO}` and as `{how or AUTO}`"
            raise ScheduleError(f"`{names[0]}` is to run as {ways}; a recurrence runs one way")
    return {each.names: named.get(each.names, everywhere) for each in found}


def _in_the_same_tiles(
    each: Possible, found: Sequence[Possible], asked: Mapping[tuple[str, ...], How | None]
) -> Iterator[tuple[tuple[str, ...], How]]:
    """The recurrences that run in the tiles of one that was asked to run in tiles, and how.

    Raises:
        ScheduleError: they are asked to run in another way.
    """
    how = asked[each.names]
    if not isinstance(how, Tiles | Tree):
        return
    for other in (other for other in found if set(other.names) < set(each.together)):
        if asked[other.names] not in (None, how):
            names = " and ".join(f"`{name}`" for name in each.together)
            raise ScheduleError(f"{names} run in the same tiles, so not as `{how}` and as `{asked[other.names]}`")
        yield other.names, how


def _beside(each: Possible, found: Sequence[Possible], asked: Mapping[tuple[str, ...], How | None]) -> Possible:
    """The recurrence without tiles to choose from, where one that would share them runs in another way."""
    others = (asked[other.names] for other in found if set(other.names) <= set(each.together))
    if all(how is None for how in others):
        return each
    return replace(each, having=[how for how in each.having if how not in (Tiles, Tree)])


def _directives(text: str) -> Iterator[tuple[str, How | None]]:
    """The name of a state, empty for all, and its schedule, None for `auto`."""
    for part in _COMMA.split(text):
        name, _, how = part.partition("=") if _is_named(part) else ("", "", part)
        word = how.strip()
        yield name.strip(), None if word == AUTO else parse_how(word)


def _is_named(part: str) -> bool:
    """Whether a directive has a name: its first `=` stands before any bracket."""
    return "=" in part.partition("(")[0]


def _recurrence(cell: Cell, name: str, known: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    for names in known:
        if name in names:
            return names
    told = ", ".join(state for names in known for state in names)
    raise ScheduleError(f"{cell.name} has no recurrence `{name}`; its recurrences are {told or 'none'}")


def _check_legal(found: Possible, how: How) -> None:
    said = found.verdict(how)
    if not said.legal:
        result = "would be wrong" if said.wrong else "cannot run it"
        sequential, *others = [f"`{each.word}` is legal: {each.reason}" for each in found.verdicts if each.legal]
        raise ScheduleError("; ".join([f"{said.sentence}, so `{said.word}` {result}", *others, sequential]))
