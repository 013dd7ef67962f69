"""What range analysis finds, as data and as a table: `lsrl explain --ranges`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from lsrl.backends.evaluation.gaps import COMPARISONS
from lsrl.backends.evaluation.grids import Grid
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.given_ranges import Given
from lsrl.backends.ranges import gap_of, ranges_of
from lsrl.explain_text import table
from lsrl.ir.cell import Cell
from lsrl.ir.dims import shape_text
from lsrl.ir.value import Kind, Value, postorder
from lsrl.sentences import Sentences


@dataclass(frozen=True, slots=True)
class RangeFact:
    """A named value and what its elements are between.

    Attributes:
        low, high: of all elements together; None where there is no bound.
        lies_on: `whole numbers`, `1/2 + whole numbers`, `one-hot` …; empty where nothing is known.
        place: the line of the program.
    """

    name: str
    shape: str
    low: float | None
    high: float | None
    lies_on: str
    place: str


@dataclass(frozen=True, slots=True)
class GapFact:
    """A comparison, and the gap around its threshold in which the difference of its operands never is.

    Attributes:
        below, above: the ends of the gap, exact, as text.
        slope: 1 / (above - below), the least with which a ramp rises from 0 to 1 in the gap; None where there is none.
        decided: the result where the ranges leave no choice.
    """

    comparison: str
    below: str
    above: str
    slope: float | None
    decided: bool | None
    place: str


@dataclass(frozen=True, slots=True)
class RangeReport:
    """The values of a program in the order in which they are computed, then its comparisons."""

    name: str
    sizes: Mapping[str, int]
    horizon: int | None
    values: tuple[RangeFact, ...]
    comparisons: tuple[GapFact, ...]


def range_report(
    cell: Cell, sizes: Mapping[str, int], given: Mapping[str, Given], horizon: int | None = None
) -> RangeReport:
    """The ranges of everything that has a name, and the gaps of all comparisons; see `lsrl.backends.ranges`.

    Raises:
        RangeError: a declared range is none of the program's, or cannot be.
    """
    found = ranges_of(cell, sizes, given, horizon)
    return RangeReport(cell.name, dict(sizes), horizon, tuple(_values(cell, found)), tuple(_comparisons(cell, found)))


def range_text(report: RangeReport) -> str:
    """A table of the values, and one of the comparisons where there are any."""
    sizes = ", ".join(f"{name}={number}" for name, number in report.sizes.items())
    until = "at every position" if report.horizon is None else f"at the first {report.horizon} positions"
    lines = [f"{report.name}({sizes}), {until}", "", "Ranges"]
    rows = [("", "", "from", "to", "", "")]
    rows += [(v.name, v.shape, _number(v.low), _number(v.high), v.lies_on, v.place) for v in report.values]
    lines += [f"  {line}" for line in table(rows)]
    if report.comparisons:
        header = ("", "fails up to", "holds from", "slope", "", "")
        gaps = [(c.comparison, c.below, c.above, _slope(c), _decided(c), c.place) for c in report.comparisons]
        lines += ["", "Comparisons, by the difference of their sides", *(f"  {x}" for x in table([header, *gaps]))]
    return "\n".join(lines) + "\n"


def _values(cell: Cell, found: Mapping[Value, Range]) -> Iterator[RangeFact]:
    nexts = {state.next: f"{state.name}'" for state in cell.states}
    for value in postorder(cell.roots()):
        leaf = value.op in ("input", "param", "noise", "state")
        name = str(value.attr("name")) if leaf else nexts.get(value, cell.names.get(value))
        if name is not None and value.kind is not Kind.COMPLEX:
            known = found[value]
            yield RangeFact(
                name, shape_text(value.shape), _end(known.least), _end(known.most), _lies_on(known), _place(cell, value)
            )


def _comparisons(cell: Cell, found: Mapping[Value, Range]) -> Iterator[GapFact]:
    sentences = Sentences(cell)
    for value in postorder(cell.roots()):
        if value.op in COMPARISONS and all(arg.kind is not Kind.COMPLEX for arg in value.args):
            gap, known = gap_of(value, found), found[value]
            ends = (gap.below, gap.above) if value.op in ("gt", "ge") else (-gap.above, -gap.below)
            below, above = (gap.below, gap.above) if value.op in ("eq", "ne") else ends
            slope = float(1 / gap.width) if gap.width else None
            decided = bool(known.least) if known.constant and known.least == known.most else None
            text = sentences.definition(value)
            yield GapFact(text, _exact(below), _exact(above), slope, decided, _place(cell, value))


def _lies_on(known: Range) -> str:
    match known.grid:
        case _ if known.constant and known.least == known.most:
            return "constant"
        case _ if known.one_hot:
            return "one-hot"
        case _ if known.boolean:
            return "0 or 1"
        case Grid(step, offset) if step:
            multiples = "whole numbers" if step == 1 else f"multiples of {step}"
            return f"{offset} + {multiples}" if offset else multiples
        case _:
            return ""


def _end(bound: float) -> float | None:
    return bound + 0.0 if abs(bound) != float("inf") else None  # not -0


def _number(bound: float | None) -> str:
    return "…" if bound is None else f"{bound:g}"


def _exact(number: Fraction) -> str:
    return str(number) if number.denominator < 10**6 else f"{float(number):g}"


def _slope(gap: GapFact) -> str:
    return "none holds it" if gap.slope is None else f"{gap.slope:g}"


def _decided(gap: GapFact) -> str:
    return "" if gap.decided is None else f"always {str(gap.decided).lower()}"


def _place(cell: Cell, value: Value) -> str:
    spans = cell.spans.get(value, ())
    return f"{spans[0].file}:{spans[0].line}" if spans else ""
