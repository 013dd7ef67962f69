"""What a run gives: arrays of whatever framework ran it, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """The outputs and the final states of a run.

    Attributes:
        outputs: by name; over time [B, T, *shape].
        state: by name; over time [B, *shape].  Given back as the initial state, the run continues where it ended.
        statistics: how recurrences ran whose schedule has something to tell, by the names of their states (`c, h`).
            Of Newton's method, for each sequence [B]: `iterations`, the most of a window; `fallback`, the share of
            lanes that did not converge and ran step by step; `residual`, |f(h) - h'| / (1 + |h'|) at most of others.
    """

    outputs: Mapping[str, Any]
    state: Mapping[str, Any]
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Gradients:
    """The derivative of a weighted sum of outputs and final states by everything that is a float or complex number.

    The gradient by a complex z = x + iy is dL/dx + i dL/dy.

    Attributes:
        inputs, params: by name, of the array's own shape.
        state: by the name of the initial state, [B, *shape] each, whether it was given or not.
    """

    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    state: Mapping[str, Any]
