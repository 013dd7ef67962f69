"""Facts in words: a name, a value, one sentence that says why, and the places of the program it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.intervals import UNIT, Interval
from lsrl.ir.facts.recurrence import Algebra, Recurrence, recurrences
from lsrl.ir.facts.relations import Coupling
from lsrl.ir.facts.structure import Along, AxisStructure, Structure, Transition
from lsrl.ir.pipeline import states_read
from lsrl.ir.span import Span
from lsrl.ir.value import Value

Data = dict[str, object]
DEEPEST = 3
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "and", "or")

RUNNING = {Algebra.MAX_PLUS: "a running maximum", Algebra.LOG_SUM_EXP: "the logarithm of a running sum"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known, and why."""

    name: str
    value: str
    reason: str
    spans: tuple[Span, ...] = ()

    @property
    def sentence(self) -> str:
        """The reason with the lines it comes from; those of other files, functions of the library say, in full."""
        if not self.spans:
            return f"{self.reason}."
        file = self.spans[0].file
        lines = sorted({span.line for span in self.spans if span.file == file})
        others = sorted({f"{span.file}:{span.line}" for span in self.spans if span.file != file})
        places = ", ".join([*map(str, lines), *others])
        return f"{self.reason} ({'line' if len(lines) == 1 else 'lines'} {places})."

    def as_data(self) -> Data:
        places = [str(span) for span in self.spans]
        return {"name": self.name, "value": self.value, "reason": self.reason, "places": places}


@dataclass(frozen=True, slots=True)
class RecurrenceFacts:
    """The facts of one recurrence, in words and as the data they were read off."""

    recurrence: Recurrence
    facts: tuple[Fact, ...]

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(state.name for state in self.recurrence.states)

    def fact(self, name: str) -> Fact:
        """The first fact of a name; KeyError when there is none."""
        for each in self.facts:
            if each.name == name:
                return each
        raise KeyError(name)

    def as_data(self) -> Data:
        return {"states": list(self.states), "facts": [fact.as_data() for fact in self.facts]}

    def __str__(self) -> str:
        return "\n".join([f"{', '.join(self.states)}:", *(f"  {fact.sentence}" for fact in self.facts)])


def facts(cell: Cell) -> tuple[RecurrenceFacts, ...]:
    """What is known about each recurrence of a cell, in the order in which they can run.

    Raises:
        PipelineError: forward and reversed states need each other.
    """
    found = recurrences(cell)
    running = {name: each for each in found if each.algebra in RUNNING for name in _names(each)}
    return tuple(RecurrenceFacts(each, tuple(_Words(cell, each, running).facts())) for each in found)


def _names(recurrence: Recurrence) -> tuple[str, ...]:
    return tuple(state.name for state in recurrence.states)


class _Words:
    """Writes the facts of one recurrence."""

    def __init__(self, cell: Cell, recurrence: Recurrence, running: dict[str, Recurrence]) -> None:
        self.cell = cell
        self.recurrence = recurrence
        self.running = running

    def facts(self) -> Iterator[Fact]:
        yield self.algebra()
        yield from self.transitions()
        if self.recurrence.algebra is Algebra.NONLINEAR or len(self.recurrence.states) > 1:
            yield self.coupling()
        yield from self.times()
        yield from self.stabilisers()
        yield from self.bounds()

    def algebra(self) -> Fact:
        found, offenders = self.recurrence, self.recurrence.offenders
        following, arriving = self.listed("'"), self.listed("")
        verb = "is" if len(found.states) == 1 else "are"
        match found.algebra:
            case Algebra.AFFINE:
                reason, values = f"{following} {verb} affine in {arriving}", self.nexts()
            case Algebra.NONLINEAR:
                broken = ", ".join(dict.fromkeys(self.offence(value) for value in offenders))
                reason, values = f"{following} {verb} not affine in {arriving}: {broken}", list(offenders)
            case _:
                how = str(found.algebra).removeprefix("affine ")
                reason, values = f"{following} {verb} affine in {arriving} {how}", self.nexts()
        return Fact("algebra", str(found.algebra), reason, self.spans(values))

    def transitions(self) -> Iterator[Fact]:
        for leaf, each in self.recurrence.structures.items():
            state = self.cell.state(str(leaf.attr("name")))
            axis = f" along {leaf.attr('axis')}" if len(state.axes) > 1 else ""
            reason = f"the transition of `{state.name}`{axis} is {_whole(each)}{self.by(each)}{_along(state, each)}"
            yield Fact("transition", each.kind.value, reason, self.spans(each.coefficients))

    def by(self, found: Structure) -> str:
        """The one coefficient of a plain transition, and its bounds."""
        plain = found.kind in (Transition.SCALAR, Transition.DIAGONAL, Transition.SEPARABLE)
        if not plain or not 0 < len(found.coefficients) <= 2:
            return ""
        return ", " + " and ".join(self.bounded(value) for value in found.coefficients)

    def bounded(self, value: Value) -> str:
        bounds = self.recurrence.coefficients[value]
        known = bounds.low != bounds.high and (bounds.low > -float("inf") or bounds.high < float("inf"))
        return f"`{self.text(value)}`" + (f" {_within(bounds)}" if known else "")

    def coupling(self) -> Fact:
        found, states = self.recurrence.jacobian, self.recurrence.states
        lanes = ", ".join(str(states[0].shape[axis]) for axis in found.lanes[states[0].name])
        each = f" of ({', '.join(state.name for state in states)})" if len(states) > 1 else ""
        match found.kind:
            case Coupling.DIAGONAL:
                reason = f"the Jacobian is diagonal: no element of `{states[0].name}` meets another"
            case Coupling.PER_UNIT:
                reason = f"the Jacobian is a {len(states)} by {len(states)} block{each} for each unit"
            case Coupling.PER_HEAD:
                reason = f"the Jacobian is one block{each} for each {lanes}"
            case Coupling.STENCIL:
                reason = f"the Jacobian{each} is a stencil: an element meets those near it"
            case Coupling.DENSE:
                reason = f"the Jacobian{each} is dense"
        return Fact("jacobian", found.kind.value, reason, self.spans(self.nexts()))

    def times(self) -> Iterator[Fact]:
        if self.recurrence.algebra is Algebra.AFFINE:
            varying = self.recurrence.varying
            how = "varies with the position" if varying else "is the same at every step"
            yield Fact("time", "varies" if varying else "invariant", f"the transition {how}", self.spans(varying))

    def stabilisers(self) -> Iterator[Fact]:
        """Coefficients that a running maximum, or the logarithm of a running sum, keeps at 1 or below."""
        for value, bounds in self.recurrence.coefficients.items():
            for name in states_read([value]):
                if name in self.running and bounds in UNIT:
                    what = RUNNING[self.running[name].algebra]
                    reason = f"`{self.text(value)}` is at most 1, because `{name}'` is {what}"
                    yield Fact("stabiliser", name, reason, self.spans([value, self.cell.state(name).next]))

    def bounds(self) -> Iterator[Fact]:
        for state in self.recurrence.states:
            bounds = self.recurrence.bounds[state.name]
            if bounds.bounded:
                reason = f"`{state.name}` stays {_within(bounds)} when it starts there"
                yield Fact("bounds", str(bounds), reason, self.spans([state.next]))

    def nexts(self) -> list[Value]:
        return [state.next for state in self.recurrence.states]

    def listed(self, mark: str) -> str:
        names = [f"`{state.name}{mark}`" for state in self.recurrence.states]
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]

    def offence(self, value: Value) -> str:
        """What broke it: the operation; the text of a product, since `*` says little."""
        return f"`{self.text(value)}`" if value.op in ("mul", "einsum") else f"`{value.op}`"

    def text(self, value: Value, depth: int = 0) -> str:
        """A value's name, or the text it was written as; of one that nobody wrote, what it is made of."""
        named, spans, sign = self.cell.names.get(value), self.cell.spans.get(value, ()), _INFIX.get(value.op)
        if named or (value.args and spans and spans[0].text):
            return named or _bare(spans[0].text)
        if value.op == "const":
            return str(value.attr("value"))
        if depth == DEEPEST:
            return "…"
        parts = [self.text(arg, depth + 1) for arg in value.args]
        if value.op in ("expand", "cast"):
            return parts[0]
        if sign:
            return f" {sign} ".join(map(_operand, value.args, parts))
        return f"{value.op}({', '.join(parts)})"

    def spans(self, values: Iterable[Value]) -> tuple[Span, ...]:
        """Where values are written, the first place of several; a declared one acts where the states are updated."""
        places = [place for value in values for place in ([value] if value.args else self.nexts())]
        return tuple(dict.fromkeys(span for value in places for span in self.cell.spans.get(value, ())[:1]))


def _operand(value: Value, text: str) -> str:
    """The text of a value inside of arithmetic, which binds tighter than comparisons do."""
    while value.op in ("expand", "cast"):
        (value,) = value.args
    return f"({text})" if value.op in _COMPARISONS and " " in text else text


def _bare(text: str) -> str:
    """Without parentheses around the whole."""
    inner = text[1:-1]
    return inner if text[:1] == "(" and text[-1:] == ")" and not {"(", ")"} & set(inner) else text


def _within(bounds: Interval) -> str:
    if bounds.bounded:
        return f"in {bounds}"
    return f">= {bounds.low:g}" if bounds.low > -float("inf") else f"<= {bounds.high:g}"


def _whole(found: Structure) -> str:
    kind = found.kind.value
    if found.kind is Transition.PRODUCT:
        low = sum(factor.kind is Transition.LOW_RANK for factor in found.factors)
        kind = f"a product of {low} factors diagonal + low rank"
    number = "complex " if found.complex else ""
    match found.kind:
        case Transition.IDENTITY:
            return "the identity"
        case Transition.MOVES:
            return "a move of elements to other places"
        case Transition.SCALAR:
            return f"a {number}scalar"
        case _:
            return f"{number}{kind}"


def _along(state: State, found: Structure) -> str:
    """What happens along each axis, where the whole does not say it."""
    if len(found.axes) < 2 and found.kind is not Transition.LOW_RANK:
        return ""
    if found.kind in (Transition.IDENTITY, Transition.NONE):
        return ""
    bare = [f"{_axis(axis)} along {dim}" for axis, dim in zip(found.axes, state.shape) if not axis.head]
    parts = [] if found.kind is Transition.SCALAR else bare
    heads = [str(dim) for axis, dim in zip(found.axes, state.shape) if axis.head]
    each = f", for each {' and '.join(heads)}" if heads and bare else ""
    return f"{': ' if parts else ''}{', '.join(parts)}{each}"


def _axis(axis: AxisStructure) -> str:
    match axis.along, axis.base:
        case Along.IDENTITY, _:
            return "the same"
        case Along.LOW_RANK, Along.NONE:
            return f"rank {axis.rank}"
        case Along.LOW_RANK, base:
            return f"{'identity' if base is Along.IDENTITY else 'diagonal'} + rank {axis.rank}"
        case along, _:
            return along.value
