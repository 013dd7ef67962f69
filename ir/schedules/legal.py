"""Which schedules serve a recurrence, and why: the form of each is tried, its refusal is the reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from lsrl.ir.cell import GRAPH, TIME, Cell
from lsrl.ir.facts.recurrence import Algebra
from lsrl.ir.facts.relations import Coupling
from lsrl.ir.facts.sentences import RecurrenceFacts, facts
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import Component, components
from lsrl.ir.schedules.forms import Form, form_of
from lsrl.ir.schedules.grid_form_parts import GridForm, LayeredForm
from lsrl.ir.schedules.grid_tiles import tiled_as_one
from lsrl.ir.schedules.grid_together import tiled_together
from lsrl.ir.schedules.how import Chunk, Dag, How, Newton, NotLegal, Quadratic, Rounds, Scan, Sequential, Tiles, Tree
from lsrl.ir.span import Span
from lsrl.ir.value import Value

HOWS: tuple[How, ...] = (Sequential(), Scan(), Chunk(), Newton(), Quadratic(), Dag())
GRID_HOWS: tuple[How, ...] = (*HOWS, Tiles(), Tree())
GRAPH_HOWS: tuple[How, ...] = (*HOWS, Rounds())
_OWN_WORDS = Tiles | Tree | Rounds
_PRODUCTS = ("mul", "einsum")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a schedule serves a recurrence.

    Attributes:
        how: the schedule.
        reason: the fact that makes it legal or illegal, a clause with names in backquotes.
        span: where the program says what the reason speaks of.
        culprit: the operation there, in a word.
        wrong: it would compute something else; otherwise an illegal schedule is merely not to be had.
    """

    how: How
    legal: bool
    reason: str
    span: Span | None = None
    culprit: str = ""
    wrong: bool = False

    @property
    def word(self) -> str:
        """The name of the schedule, without options; tiles and rounds are schedules of their own."""
        return str(self.how) if isinstance(self.how, _OWN_WORDS) else str(self.how).partition("(")[0]

    @property
    def sentence(self) -> str:
        """The reason with its place: ``h'` is not affine in `h` (gru.lsrl:9: tanh)`."""
        if self.span is None:
            return self.reason
        place = f"{self.span.file}:{self.span.line}"
        return f"{self.reason} ({place}{self.culprit and f': {self.culprit}'})"


@dataclass(frozen=True)
class Possible:
    """A recurrence of a cell, with what is known about it and what every schedule says to it.

    Attributes:
        having: the schedules that the target has.
        grids: the forms that it runs over grids.
    """

    cell: Cell
    sizes: Mapping[str, int]
    part: Component
    facts: RecurrenceFacts
    having: Collection[type[How]]
    grids: Collection[type[Form]] = ()

    def verdict(self, how: How) -> Verdict:
        """Whether one schedule, options and all, serves it."""
        said = _verdict(self, how)
        if said.legal and type(how) not in self.having:
            return replace(said, legal=False, reason=f"the target does not have it, though {said.reason}")
        return said

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of every schedule, its options left to the rules."""
        return tuple(map(self.verdict, hows_over(self.cell)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(state.name for state in self.part.states)

    @cached_property
    def together(self) -> tuple[str, ...]:
        """The names of the states that run in the same tiles as its own, if it runs in tiles."""
        if not is_grid(self.cell):
            return self.names
        group = tiled_together(self.cell, self.part)
        return tuple(state.name for state in group.states) if tiled_as_one(self.cell, group) else self.names

    @property
    def legal(self) -> tuple[How, ...]:
        return tuple(each.how for each in self.verdicts if each.legal)


def hows_over(cell: Cell) -> tuple[How, ...]:
    """Every schedule that there is over the axes of a cell, options left to the rules."""
    if cell.axes == (GRAPH,):
        return GRAPH_HOWS
    return GRID_HOWS if is_grid(cell) else HOWS


def possible(
    cell: Cell, sizes: Mapping[str, int], having: Collection[type[How]], grids: Collection[type[Form]] = ()
) -> tuple[Possible, ...]:
    """The recurrences of a cell, in the order in which they run, for a target with some schedules and forms on grids.

    Raises:
        PipelineError: forward and reversed states need each other.
    """
    parts = [part for part in components(cell) if part.cyclic]
    pairs = zip(parts, facts(cell), strict=True)
    return tuple(Possible(cell, sizes, part, found, having, grids) for part, found in pairs)


def _verdict(found: Possible, how: How) -> Verdict:
    if isinstance(how, Sequential):
        return Verdict(how, True, "it is what the program says")
    if isinstance(how, Dag):
        return _by_waves(found, how)
    try:
        form = form_of(found.cell, found.part, how, found.sizes)
    except NotLegal as refusal:
        return _refused(found, how, refusal)
    reason = _reason(found.facts, how, form) + _sharing(found, how)
    if is_grid(found.cell) and type(form) not in found.grids:
        return Verdict(how, False, f"the target has it for other recurrences over a grid, though {reason}")
    return Verdict(how, True, reason)


def _sharing(found: Possible, how: How) -> str:
    """Which other recurrences run in the same tiles."""
    others = [f"`{name}`" for name in found.together if isinstance(how, Tiles | Tree) and name not in found.names]
    return f", in the tiles of {' and '.join(others)}" if others else ""


def _by_waves(found: Possible, how: How) -> Verdict:
    if is_grid(found.cell):
        axes = " and ".join(found.cell.axes)
        return Verdict(how, True, f"a place needs only those before it along {axes}")
    if found.cell.axes == (GRAPH,):
        return Verdict(how, True, "an edge needs only those into the node that it leaves")
    return Verdict(how, False, f"the states of {found.cell.name} do not travel on a grid")


def _refused(found: Possible, how: How, refusal: NotLegal) -> Verdict:
    known = found.facts.recurrence
    told = found.cell.axes == (TIME,) or refusal.value is not None  # else it is the axes that do not fit
    wrong = known.algebra is not Algebra.AFFINE and not isinstance(how, Newton) and told
    places = found.cell.spans.get(refusal.value, ()) if refusal.value is not None else ()
    culprit = _word(refusal.value, places) if refusal.value is not None and refusal.value in known.offenders else ""
    return Verdict(how, False, refusal.reason, places[0] if places else None, culprit, wrong)


def _word(value: Value, places: tuple[Span, ...]) -> str:
    """The operation, or the text of a product, since `*` says little."""
    return _bare(places[0].text) if value.op in _PRODUCTS and places else value.op


def _bare(text: str) -> str:
    """A text without the brackets around all of it."""
    depths = list(accumulate((char == "(") - (char == ")") for char in text))
    around = text.startswith("(") and 0 not in depths[:-1]
    return _bare(text[1:-1]) if around else text


def _reason(found: RecurrenceFacts, how: How, form: Form) -> str:
    """Why a legal schedule is legal."""
    algebra = found.fact("algebra").reason
    match how:
        case Scan():
            affine = found.recurrence.algebra is Algebra.AFFINE
            return f"{algebra} and steps compose: {_transition(found)}" if affine else algebra
        case Chunk():
            return f"{algebra}, {_transition(found)}, and what it adds are outer products"
        case Tiles() | Tree():
            return f"{algebra}, {_tiled(form)}"
        case Rounds():
            return f"{algebra}, with weights that are known before"
        case Quadratic():
            return "it is `chunk` with a single chunk"
        case _:
            return _jacobian(found, how)


def _tiled(form: Form) -> str:
    match form:
        case LayeredForm():
            return "arriving states count layer by layer, and what is added are outer products"
        case GridForm():
            return "arriving states count as whole ones, and what is added are outer products"
        case _:
            return "element by element"


def _transition(found: RecurrenceFacts) -> str:
    """What is known about transitions, or about what meets where several states do."""
    name = "transition" if len(found.states) == 1 else "jacobian"
    return found.fact(name).reason.partition(":")[0]


def _jacobian(found: RecurrenceFacts, how: How) -> str:
    known = found.recurrence
    match known.jacobian.kind:
        case Coupling.DIAGONAL:
            return "its Jacobian is diagonal"
        case Coupling.PER_UNIT:
            return f"its Jacobian is a {len(known.states)} by {len(known.states)} block for each unit"
        case _ if isinstance(how, Newton) and how.quasi:
            return "the diagonal of its Jacobian stands for all of it, and what it finds is checked"
        case Coupling.DENSE:
            return "its Jacobian is small"
        case _:
            return "its Jacobian is a small block for each head"
