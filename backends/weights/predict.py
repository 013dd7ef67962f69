"""How far the slots of a compiled network are from their values: bounds that hold for every input within its range.

Where all that a unit reads are multiples of a power of two and small enough for the significand, nothing is rounded and
its error is that of the construction, often 0.  Elsewhere errors add up to first order: those of what is read times
the coefficients, rounding (n + 4) u sum |w v| for n terms with the unit roundoff u, and the construction's own.  States
add up their errors step by step, up to the horizon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import Extent, unit_of
from lsrl.backends.weights.architecture import Architecture, Precision
from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.linear_bounds import linear_bounds
from lsrl.backends.weights.network import Kind, Layer, Network, Row, Unit

BEYOND = 1e200
"""A bound that has grown to this is none."""


def predict(
    network: Network, architecture: Architecture, precision: Precision, horizon: int
) -> tuple[list[Array], Array]:
    """Error bounds of the slots of every layer, inputs first, and of the outputs, after `horizon` steps."""
    extents: Sequence[Extent] = network.input_extents
    errors = [np.array([_entry_error(extent, precision) for extent in extents])]
    for layer in network.layers:
        errors.append(_layer_errors(layer, extents, errors[-1], architecture, precision, horizon))
        extents = [unit.extent for unit in layer]
    readout = np.array([_row_error(row, extents, errors[-1], precision) for row in network.readout])
    return errors, readout


def _entry_error(extent: Extent, precision: Precision) -> float:
    """Of an input, which is rounded when it is given."""
    exact = extent.unit > 0 and extent.largest <= extent.unit * 2.0**precision.digits
    return 0.0 if exact else extent.largest * 2.0**-precision.digits


def _row_error(row: Row, extents: Sequence[Extent], errors: Array, precision: Precision) -> float:
    sizes = [abs(factor) * extents[slot].largest for slot, factor in row.terms]
    units = [unit_of(factor) * extents[slot].unit for slot, factor in row.terms if extents[slot].largest > 0]
    inherited = float(sum(abs(factor) * errors[slot] for slot, factor in row.terms))
    total = math.fsum(sizes) + abs(row.bias) if all(map(math.isfinite, sizes)) else math.inf
    step = min([*units, unit_of(row.bias)], default=math.inf)
    if inherited == 0 and step > 0 and total <= step * 2.0**precision.digits:
        return 0.0
    return inherited + (len(row.terms) + 4) * 2.0**-precision.digits * total


def _layer_errors(
    layer: Layer,
    extents: Sequence[Extent],
    below: Array,
    architecture: Architecture,
    precision: Precision,
    horizon: int,
) -> Array:
    found = np.array([_unit_error(unit, layer, extents, below, precision) for unit in layer])
    found += [architecture.deviation(layer, slot, extents, precision, horizon) for slot in range(len(layer))]
    states = [slot for slot, unit in enumerate(layer) if unit.kind is Kind.STATE or unit.back]
    read = {other for unit in layer for other, _ in unit.back}
    states = sorted(read.union(states))
    if states:
        back, _ = transition(layer)
        linear = not any(unit.kind is Kind.RELU and unit.back for unit in layer)
        found[states] = _accumulated(back[np.ix_(states, states)], found[states], horizon, linear)
    return found


def _unit_error(unit: Unit, layer: Layer, extents: Sequence[Extent], below: Array, precision: Precision) -> float:
    first = _row_error(unit.rows[0], extents, below, precision)
    if unit.kind is Kind.PRODUCT:
        second = _row_error(unit.rows[1], extents, below, precision)
        left, right = unit.operands
        rounding = 0.0 if _is_small(unit.extent, precision) and first == second == 0 else _rounding(unit, precision)
        return _times(left.largest, second) + _times(right.largest, first) + first * second + rounding
    if unit.snaps:  # it is 1 less what is not negative, rectified: never off by more than 1
        return 0.0 if first < unit.snaps else min(first, 1.0)
    return first + _back_error(unit, layer, precision)


def _back_error(unit: Unit, layer: Layer, precision: Precision) -> float:
    """Rounding where last values are added."""
    terms = [_times(abs(factor), layer[slot].extent.largest) for slot, factor in unit.back]
    total = math.fsum([*terms, unit.extent.largest])
    step = min([unit_of(factor) * layer[slot].extent.unit for slot, factor in unit.back], default=math.inf)
    if step > 0 and total <= step * 2.0**precision.digits:
        return 0.0
    return (len(terms) + 4) * 2.0**-precision.digits * total if unit.back else 0.0


def _accumulated(back: Array, added: Array, horizon: int, linear: bool) -> Array:
    """What the errors `added` at every one of `horizon` steps come to.

    Linear states pass an error on as they pass on everything, in all at most sum_k |A^k| added; a ReLU makes none
    larger, which leaves e' = |A| e + added.
    """
    if not added.any():
        return added
    finite = np.isfinite(added)
    each = np.where(finite, added, 0)
    if linear:
        _, error = linear_bounds(back, -each, each, np.zeros_like(each), horizon)
    else:
        error = np.zeros_like(each)
        for _ in range(horizon):
            error = np.minimum(np.abs(back) @ error + each, BEYOND)
        error = np.where(error < BEYOND, error, np.inf)
    reached = np.linalg.matrix_power((back != 0) + np.eye(len(back)), len(back)) @ ~finite > 0
    return np.where(reached, np.inf, error)


def _is_small(extent: Extent, precision: Precision) -> bool:
    return extent.unit > 0 and extent.largest <= extent.unit * 2.0**precision.digits


def _rounding(unit: Unit, precision: Precision) -> float:
    return 4 * 2.0**-precision.digits * unit.extent.largest


def _times(x: float, y: float) -> float:
    return 0.0 if 0 in (x, y) else x * y
