"""One number of a program at every step: what it is, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lsrl.backends.weights.affine import Affine, Extent
from lsrl.ir.value import Value


class Sort(StrEnum):
    """What a scalar is."""

    INPUT = "input"
    ARRIVING = "arriving"
    STATE = "state"
    RELU = "relu"
    PRODUCT = "product"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number per step.

    Attributes:
        forms: the operands: one of a ReLU and of a name, two of a product, none of others.
        extent: what is known of its values.
        origin: the value of the program that it was made for.
        element: of an input or state, which number of all inputs or states.
        snaps: a ReLU that is exact as long as the error of what it reads is smaller than this.
    """

    sort: Sort
    forms: tuple[Affine, ...]
    extent: Extent
    origin: Value | None = None
    element: int = -1
    snaps: float = 0.0
