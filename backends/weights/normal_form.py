"""From a program to its network in normal form, and which architectures hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.given_ranges import Given
from lsrl.backends.ranges import ranges_of
from lsrl.backends.weights.architecture import Architecture
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.backends.weights.assemble import assemble
from lsrl.backends.weights.diagonal import LATEST
from lsrl.backends.weights.faults import ArchitectureError
from lsrl.backends.weights.lower import Scalars, lower
from lsrl.backends.weights.network import Network
from lsrl.backends.weights.periodic import Unrolled, unrolled
from lsrl.ir.cell import Cell


@dataclass(frozen=True, slots=True)
class Obstacle:
    """An operation that an architecture does not hold: the program's value with its line, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def prepared(cell: Cell, sizes: Mapping[str, int], *, diagonal: bool) -> Unrolled:
    """A program as an architecture takes it: for diagonal ones periodic states are tables of the position."""
    return unrolled(cell, sizes) if diagonal else Unrolled(cell, ())


def taken_apart(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Mapping[str, Array],
    given: Mapping[str, Given],
    horizon: int,
    *,
    snapping: bool = False,
) -> Scalars:
    """A program as scalars, with what the range analysis knows for sequences of at most `horizon` positions.

    Raises:
        NotExact: it does what no network of affine maps, ReLUs, products and linear states holds.
        RangeError: a range is of no input, or cannot be.
    """
    numbers = {name: _within(array) for name, array in params.items()}
    known = ranges_of(cell, sizes, {**numbers, **given}, horizon)
    return lower(cell, sizes, params, known, horizon, snapping=snapping)


def layered(scalars: Scalars, architecture: Architecture) -> Network:
    """The network in the layers that an architecture has, whether it holds them or not.

    Raises:
        NotExact: a recurrence is not linear.
    """
    return assemble(scalars, apart=architecture.apart, longest=LATEST if architecture.diagonal else None)


def network_for(scalars: Scalars, architecture: Architecture) -> Network:
    """The network in the form that an architecture takes.

    Raises:
        ArchitectureError: it does not hold an operation; the message names it, its line, and who does.
        NotExact: a recurrence is not linear.
    """
    network = layered(scalars, architecture)
    met = obstacles(network, architecture)
    if not met:
        return network
    others = [each.name for each in ARCHITECTURES.values() if not obstacles(network, each)]
    held = f"held by {', '.join(others)}" if others else "no architecture holds it"
    raise ArchitectureError(f"{architecture.name} does not hold {met[0]} ({held})")


def obstacles(network: Network, architecture: Architecture) -> tuple[Obstacle, ...]:
    """Every operation that an architecture does not hold, each place and reason once."""
    found = {
        Obstacle(unit.place, reason): None
        for layer in network.layers
        for slot, unit in enumerate(layer)
        if (reason := architecture.obstacle(layer, slot)) is not None
    }
    return tuple(found)


def architecture_named(name: str) -> Architecture:
    """An architecture.

    Raises:
        ArchitectureError: there is none of that name.
    """
    if name not in ARCHITECTURES:
        raise ArchitectureError(f"there is no architecture `{name}`; there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _within(array: Array) -> Given:
    """The range of the numbers of a parameter."""
    numbers = np.asarray(array, np.float64)
    return Given(float(numbers.min(initial=np.inf)), float(numbers.max(initial=-np.inf))) if numbers.size else Given()
