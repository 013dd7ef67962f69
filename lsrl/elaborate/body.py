"""A cell under construction: its declarations so far, and what is known of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.scope import Slot
from lsrl.elaborate.session import Numbers, Session
from lsrl.ir import build, fold
from lsrl.ir.cell import TIME, Input, Noise, Param, Requirement, Size, State
from lsrl.ir.dims import Dim, DimError, Shape
from lsrl.ir.fault import SIZE_MEANINGLESS, Fault
from lsrl.ir.infer import Typing
from lsrl.ir.span import Span
from lsrl.ir.value import Value

FOLDING = (fold.exact_constants, fold.floating_constants, fold.multiples_of_pi, fold.sizes)
FOLDABLE = ("const", "size", "mul")  # a multiple of pi is a product
LONGEST_SIZE = 1_000
MOST_PLACES = 8


@dataclass
class Lag:
    """A value some positions back: `registers[k]` arrived k + 1 positions ago, `lines[n]` holds the last n at once.

    `first` is how far back the first register is, as its name says it.  What only the condition of a `reset` or `hold`
    reads (`condition` says which) is not subject to it.
    """

    source: Value | None
    name: str
    axis: str
    init: Value
    span: Span
    first: int = 1
    condition: str = ""
    registers: list[Value] = field(default_factory=list)
    lines: dict[int, Value] = field(default_factory=dict)


@dataclass
class Body:
    """The parts of one cell, filled in statement by statement.

    Attributes:
        name: the cell's name; empty where constants and functions are checked on their own.
        axes: what it runs along.
        numbers: the sizes whose numbers are known.
        guesses: types of names that are read one step back before they are defined.
        slots: the states the cell itself declares; `states` are those of used cells.
        shared: inputs, params, states and noises that have no axis of heads.
        later: where the names that are assigned further down are defined.
        copies: how often each name of a scope was taken.
        pads: what inputs are before the start, where they say so.
        reset, held: where the cell starts anew, and where it keeps its states; `holds`, because it says so itself.
        exempt: states that a reset leaves alone, since it is computed from them.
    """

    session: Session
    name: str = ""
    axes: tuple[str, ...] = (TIME,)
    numbers: Numbers = field(default_factory=dict)
    guesses: Mapping[str, Typing] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    params: dict[str, Param] = field(default_factory=dict)
    noises: list[Noise] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    lags: dict[tuple[object, ...], Lag] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    output_places: dict[str, Span] = field(default_factory=dict)
    requires: dict[tuple[Dim, str], Requirement] = field(default_factory=dict)
    names: dict[Value, str] = field(default_factory=dict)
    spans: dict[Value, tuple[Span, ...]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    later: dict[str, Span] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    pads: dict[Value, Value] = field(default_factory=dict)
    reset: tuple[Value, Span] | None = None
    held: Value | None = None
    holds: bool = False

    @property
    def exempt(self) -> frozenset[str]:
        lags = [lag for lag in self.lags.values() if lag.condition == "reset"]
        return frozenset(str(kept.attr("name")) for lag in lags for kept in (*lag.registers, *lag.lines.values()))

    def passed_on(self, arriving: Value, following: Value) -> Value:
        """What a state passes on: where the cell holds, what arrived."""
        return following if self.held is None else build.where(self.held, arriving, following)

    def placed(self, value: Value, span: Span) -> Value:
        """The value, folded where it is constant, with a note of its place."""
        if value.args and all(arg.op in FOLDABLE for arg in value.args):
            for law in FOLDING:
                value = law(value) or value
        if value.op == "size":
            self.reasonable(value.attr("dim"))
        if value.op not in ("const", "size"):
            places = self.spans.get(value, ())
            if span not in places and len(places) < MOST_PLACES:
                self.spans[value] = (*places, span)
        return value

    def reasonable(self, dim: object) -> None:
        """Fault when a size has become a formula that nobody could mean."""
        if len(str(dim)) > LONGEST_SIZE:
            raise Fault(code.TOO_LARGE, f"the formula of a size takes more than {LONGEST_SIZE} characters")

    def number(self, dim: Dim) -> int | None:
        """The number of a size where it is known: given, or by default."""
        try:
            return dim.evaluate(self.numbers)
        except DimError:
            return None

    def pin(self, dim: Dim, what: str, span: Span) -> int:
        """The number of a size on which the form of the graph depends; 1 where it is not known.

        What was built for one number is not run with another: the sizes are required to agree.
        """
        if dim.constant is not None:
            return dim.constant
        number = self.number(dim)
        number = 1 if number is None else number
        self.equal(dim, Dim.of(number), f"{what} was built for {dim} = {number}", span)
        return number

    def require(self, dim: Dim, message: str, span: Span, fault: str = SIZE_MEANINGLESS) -> None:
        """Require a size to be at least 0; a fault of that code when it never is."""
        if dim.constant is not None and dim.constant < 0:
            raise Fault(fault, message)
        if not _never_negative(dim):
            self.requires.setdefault((dim, message), Requirement(dim, message, span))

    def equal(self, left: Dim, right: Dim, message: str, span: Span) -> None:
        """Require two sizes to agree."""
        if left != right:
            self.require(left - right, message, span)
            self.require(right - left, message, span)

    def fits(self, shape: Shape, message: str, span: Span) -> None:
        """Require that the sizes of a shape are not negative."""
        for dim in shape:
            self.require(dim, f"{message}: the size {dim} is negative", span)

    def copy_name(self, prefix: str, name: str) -> str:
        """`gru`, and `gru_2` where the scope has a `gru` already."""
        key = prefix + name
        self.copies[key] = self.copies.get(key, 0) + 1
        return name if self.copies[key] == 1 else f"{name}_{self.copies[key]}"


def _never_negative(dim: Dim) -> bool:
    return all(factor >= 0 for _, factor in dim.terms)
