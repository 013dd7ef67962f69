"""The choice between legal schedules: the cheapest by the model, and how far the others are behind."""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.ir.schedules.cost import Cost, Run, cost
from lsrl.ir.schedules.grid_form import LEAST_NUMBERS, state_numbers
from lsrl.ir.schedules.how import Dag, How, Rounds, Sequential, Tiles
from lsrl.ir.schedules.legal import Possible
from lsrl.ir.schedules.work import work


@dataclass(frozen=True, slots=True)
class Choice:
    """What a recurrence runs as, and what every legal schedule would cost.

    Attributes:
        costs: of the legal schedules, in the order in which they were considered.
    """

    how: How
    costs: tuple[Cost, ...]


def chosen(found: Possible, run: Run) -> How:
    """The schedule that `choose` takes; where only one is legal nothing is weighed.

    Raises:
        DeviceError: the run is on a device that is not described.
    """
    return found.legal[0] if len(found.legal) == 1 else choose(found, run).how


def choose(found: Possible, run: Run) -> Choice:
    """The cheapest legal schedule of a recurrence; `sequential` where nothing is cheaper.

    Raises:
        DeviceError: the run is on a device that is not described.
    """
    waves = next((how for how in found.legal if isinstance(how, Dag)), None)
    tiles = next((how for how in found.legal if isinstance(how, Tiles)), None)
    if tiles is not None and state_numbers(found.part.states, found.sizes) >= LEAST_NUMBERS:
        return Choice(tiles, ())
    rounds = next((how for how in found.legal if isinstance(how, Rounds)), None)
    if rounds is not None:
        return Choice(rounds, ())  # which are the levels where an elimination takes longer
    if waves is not None:
        return Choice(waves, ())  # does the same work in fewer steps
    asked = work(found.cell, found.facts.recurrence, found.sizes)
    costs = tuple(cost(how, asked, run) for how in found.legal)
    best = min(costs, key=lambda each: (each.seconds, not isinstance(each.how, Sequential)))
    return Choice(_open(best.how, found.legal), costs)


def _open(how: How, legal: tuple[How, ...]) -> How:
    """The schedule as it is asked for: a chunk size that the model filled in is the rule's own, so it is left open."""
    return next(each for each in legal if type(each) is type(how))
