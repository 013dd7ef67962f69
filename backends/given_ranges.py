"""Declared ranges of what a program is given: by its declarations, or by whoever asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lsrl.backends.evaluation.grids import INTEGERS, grid
from lsrl.backends.evaluation.ranges import Range, on_grid
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.value import Kind, Value, postorder

LEAVES = ("input", "noise", "param")


class RangeError(Refusal):
    """Declared ranges that make no sense, or none for this program."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is declared of an input, noise or parameter.

    Attributes:
        low, high: bounds of every element.
        step: elements are `low` plus a whole multiple of it; None where they may be anything in between.
        one_hot: along the last axis one element is 1 and all others are 0.
    """

    low: float = -np.inf
    high: float = np.inf
    step: Fraction | None = None
    one_hot: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise RangeError(f"no number is between {self.low:g} and {self.high:g}")
        if self.step is not None and (self.step <= 0 or np.isinf(self.low)):
            raise RangeError(f"steps of {self.step} from {self.low:g} lead nowhere")

    def range(self, shape: tuple[int, ...]) -> Range:
        """The range of a value of this shape."""
        start = None if self.step is None else Fraction(self.low)
        steps = None if self.step is None or start is None else grid(self.step, start)
        found = on_grid(np.full(shape, float(self.low)), np.full(shape, float(self.high)), steps)
        return found.with_sums(np.ones(shape[:-1]), np.ones(shape[:-1])) if self.one_hot else found


BOOLEAN = Given(0, 1, Fraction(1))
ONE_HOT = Given(0, 1, Fraction(1), one_hot=True)
_WORDS: Mapping[str, Given] = {"bool": BOOLEAN, "one_hot": ONE_HOT}
_FORM = re.compile(r"(?P<name>[\w.]+)=(?P<low>[^:=]+):(?P<high>[^:=]+)(:(?P<step>[^:=]+))?")


def read_given(texts: Iterable[str]) -> dict[str, Given]:
    """Ranges as they are written: `x=-1:1`, `n=0:9:1` (whole numbers), `b=bool`, `c=one_hot`.

    Raises:
        RangeError: a text is of no such form.
    """
    return dict(map(_read, texts))


def _read(text: str) -> tuple[str, Given]:
    name, _, word = text.partition("=")
    if word in _WORDS:
        return name, _WORDS[word]
    found = _FORM.fullmatch(text)
    if found is None:
        raise RangeError(f"`{text}` is no range: write NAME=LOW:HIGH, NAME=LOW:HIGH:STEP, NAME=bool or NAME=one_hot")
    try:
        step = None if found["step"] is None else Fraction(found["step"])
        return found["name"], Given(float(found["low"]), float(found["high"]), step)
    except (ValueError, ZeroDivisionError) as error:
        raise RangeError(f"`{text}`: {error}") from error


def leaf_ranges(cell: Cell, scope: Scope, given: Mapping[str, Given]) -> dict[Value, Range]:
    """The ranges of all inputs, noises and parameters of a cell that it uses."""
    declared = _declared(cell, scope)
    names = [*(each.name for each in cell.inputs), *(each.name for each in cell.noises)]
    names += [each.name for each in cell.params]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise RangeError(f"{cell.name} is not given {', '.join(unknown)}; it is given {', '.join(names) or 'nothing'}")
    found = {}
    for value in postorder(cell.all_roots()):
        if value.op in LEAVES:
            found[value] = _leaf(value, str(value.attr("name")), scope, declared, given)
    return found


def _leaf(value: Value, name: str, scope: Scope, declared: Mapping[str, Given], given: Mapping[str, Given]) -> Range:
    shape = scope.shape(value.shape)
    if given.get(name, BOOLEAN).one_hot and name in given and not shape:
        raise RangeError(f"{name} is a scalar; one_hot is said of a vector")
    own = declared.get(name, BOOLEAN if value.kind is Kind.BOOL else Given()).range(shape)
    if value.kind in (Kind.BOOL, Kind.INT):
        own = on_grid(own.low, own.high, INTEGERS)
    return own & given[name].range(shape) if name in given else own


def _declared(cell: Cell, scope: Scope) -> dict[str, Given]:
    """Whole numbers below a bound, and what is drawn 0 or 1."""
    counted = {each.name: each.bound.evaluate(scope.sizes) for each in cell.inputs if each.bound is not None}
    tossed = {noise.name: BOOLEAN for noise in cell.noises if noise.draw.name == "bernoulli"}
    return tossed | {name: Given(0, max(bound - 1, 0), Fraction(1)) for name, bound in counted.items()}
