"""The choice between legal schedules: the cheapest by the model, and how far the others are behind."""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.ir.lattice import is_grid
from lsrl.ir.schedules.cost import Cost, Run, cost
from lsrl.ir.schedules.grid_cost import grid_costs
from lsrl.ir.schedules.how import Chunk, Dag, How, Quadratic, Rounds, Scan, Sequential, Tiles, Tree
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
    if is_grid(found.cell) and not all(isinstance(how, Sequential | Dag) for how in found.legal):
        return _over_grid(found, run)
    rounds = next((how for how in found.legal if isinstance(how, Rounds)), None)
    if rounds is not None:
        return Choice(rounds, ())  # which are the levels where an elimination takes longer
    if waves is not None:
        return Choice(waves, ())  # does the same work in fewer steps
    asked = work(found.cell, found.facts.recurrence, found.sizes)
    costs = tuple(cost(how, asked, run) for how in found.legal)
    best = min(costs, key=lambda each: (each.seconds, not isinstance(each.how, Sequential)))
    return Choice(_open(best.how, found.legal), costs)


def _over_grid(found: Possible, run: Run) -> Choice:
    """Tiles have the side that is best; of recurrences that share their tiles each runs as all of them."""
    shared = len(found.together) > len(found.names)
    costs = [each for each in grid_costs(found, run) if not (shared and isinstance(each.how, Scan | Chunk | Quadratic))]
    costs.sort(key=lambda each: (each.seconds, isinstance(each.how, Sequential)))  # waves take its steps at once
    tiles = [next((each for each in costs if isinstance(each.how, kind)), None) for kind in (Tiles, Tree)]
    kept = [each for each in costs if each in tiles or not isinstance(each.how, Tiles | Tree)]
    best = kept[0].how
    return Choice(best if isinstance(best, Tiles | Tree) else _open(best, found.legal), tuple(kept))


def _open(how: How, legal: tuple[How, ...]) -> How:
    """The schedule as it is asked for: a chunk size that the model filled in is the rule's own, so it is left open."""
    return next(each for each in legal if type(each) is type(how))
