"""Linear states in cells whose signals pass `tanh` and sigmoid gates.

Signals are scaled by a power of two so small that tanh is the identity in floating point, and gates are saturated so
far that the sigmoid is 0 or 1, exactly.  Where gates are to have gradients (`softened`), they leak, and signals are as
large as a tanh allows whose relative error is no larger than that, z^2 / 3: then weights have sizes that train.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lsrl.backends.weights.affine import Extent
from lsrl.backends.weights.architecture import Precision
from lsrl.backends.weights.network import Layer


def scale_for(extents: Sequence[Extent], precision: Precision) -> float:
    """The power of two by which signals are multiplied: as usual, or less where they are very large."""
    most = max((extent.largest for extent in extents if extent.bounded), default=1.0)
    if precision.leak:
        return 2.0 ** math.floor(math.log2(math.sqrt(3 * precision.leak) / max(most, 1.0)))
    if most * precision.scale <= precision.linear:
        return precision.scale
    return 2.0 ** math.floor(math.log2(precision.linear / most))


def centred(layer: Layer) -> list[Extent]:
    """The extents of what a layer's units carry: states without their start."""
    return [Extent(unit.extent.low - unit.start, unit.extent.high - unit.start, unit.extent.unit) for unit in layer]


def tanh_error(extent: Extent, precision: Precision) -> float:
    """How far tanh(scale v) / scale is from v, by the choice of `scale_for`, which needs bounds."""
    return precision.leak * extent.largest if extent.bounded else math.inf
