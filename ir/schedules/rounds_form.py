"""The form of a cell over a graph whose states are solved in rounds: a triangular system.

The unknowns are the states of all edges, and the sums at nodes that states meet in on their way:

    x[end] = sources[end] + the sum of weight * x[start] over the arcs into it

A sum over the turns into an edge is no unknown of its own: its arcs lead on to whatever it counts in.  The arcs of one
sort are all edges, or all turns, of the graph.  Weights are values that do not depend on the states: numbers for each
element, or matrices along one axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.ir import build, ops
from lsrl.ir.cell import GRAPH, Cell, State
from lsrl.ir.dims import count
from lsrl.ir.facts.affine import ARITHMETIC, Broken, Reader, Rule, interpret, made
from lsrl.ir.facts.linear import Factor, LinearForm, Term, fitted
from lsrl.ir.schedules.coefficients import Coefficient, constant, dense, diagonal
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.rounds_weights import Weights
from lsrl.ir.value import Domain, Kind, Value, depends_on, postorder

STARTS: Mapping[tuple[str, ...], str] = {
    (): "leaving",
    ("edge.from",): "edge_from",
    ("edge.to",): "edge_to",
    ("turn.in",): "turn_in",
    ("turn.node",): "turn_node",
}
"""Where an arc starts, as a side of a level, by the reads between the unknown and where it counts."""
ENDS: Mapping[str, str] = {"edge.to": "edge_to", "turn.node": "turn_node"}
"""Where arcs into a sum at nodes end, by what it collects."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Unknowns of one sort.

    Attributes:
        leaf: a state as it arrives, or a sum at nodes.
        source: what they are besides what arrives, of the same shape.
    """

    leaf: Value
    source: Value


@dataclass(frozen=True, slots=True)
class Arcs:
    """Arcs of one sort, one for each edge or turn.

    Attributes:
        domain: edges or turns.
        start, end: the sides of a level that tell where each starts and ends.
        one, two: which sorts of unknowns these are, as numbers.
        weight: with the axes `RoundsForm.axes` of a state, and behind them rows and columns where weights are matrices;
            the same everywhere where it has no domain.
    """

    domain: Domain
    start: str
    end: str
    one: int
    two: int
    weight: Value


@dataclass(frozen=True, slots=True)
class RoundsForm:
    """The system of all states of a cell.

    Attributes:
        unknowns: the states in their order, then the sums that they need.
        axes: those of a state along which some weight varies, from element to element.
        matrix: the axis of a state along which weights are matrices; it comes after those of `axes`.
    """

    unknowns: tuple[Unknown, ...]
    arcs: tuple[Arcs, ...]
    axes: tuple[int, ...]
    matrix: int | None

    @property
    def operands(self) -> tuple[Value, ...]:
        """What must be computed before, each once."""
        return tuple(dict.fromkeys([*(each.weight for each in self.arcs), *(each.source for each in self.unknowns)]))

    @property
    def results(self) -> tuple[Value, ...]:
        """The values of the cell's graph that solving it gives for all places."""
        return tuple(each.leaf for each in self.unknowns)


def rounds_form(cell: Cell, sizes: Mapping[str, int]) -> RoundsForm:
    """The system of all states of a cell over a graph.

    Matrices are refused where they are larger than what they multiply: then composing two costs more than a step.

    Raises:
        NotLegal: there is none; says which fact is missing.
    """
    _check_states(cell)
    form = _System(cell).form()
    if form.matrix is not None:
        _check_matrices(cell.states[0], form.matrix, sizes)
    return form


def _check_matrices(state: State, axis: int, sizes: Mapping[str, int]) -> None:
    rows, columns = (count(part).evaluate(sizes) for part in (state.shape[axis : axis + 1], state.shape[axis + 1 :]))
    if rows > columns:
        raise NotLegal(
            f"weights of `{state.name}` are matrices {rows} by {rows}, larger than the {columns} columns that they "
            f"multiply: composing two costs more than a step",
            state.next,
        )


def _check_states(cell: Cell) -> None:
    if cell.axes != (GRAPH,):
        raise NotLegal(f"{cell.name} does not run over a graph")
    if not cell.states:
        raise NotLegal(f"{cell.name} has no states")
    first = cell.states[0]
    for state in cell.states:
        if state.kind is not Kind.FLOAT:
            raise NotLegal(f"`{state.name}` holds {state.kind} values, and rounds those of real numbers", state.next)
        if state.shape != first.shape:
            raise NotLegal(f"`{first.name}` and `{state.name}` differ in shape, and are to be one system", state.next)


@dataclass(frozen=True, slots=True)
class _Hop:
    """An unknown, by the reads on the way from it, times a coefficient that is known where it arrives."""

    leaf: Value
    reads: tuple[str, ...]
    weight: Coefficient


class _System:
    """The system of a cell while it is read."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        tied = depends_on(cell.roots(), lambda value: value.op == "state")
        order = postorder(state.next for state in cell.states)
        self.sums = [value for value in order if value.op == "sum_in" and value in tied]
        self.leaves = [_leaf(state) for state in cell.states]
        roots = [*(state.next for state in cell.states), *(value.args[0] for value in self.sums)]
        found, offenders = interpret(roots, [*self.leaves, *self.sums], _RULES)
        self.forms = dict(zip([*self.leaves, *self.sums], map(self.affine, found, [offenders] * len(found))))
        self.shape = cell.states[0].shape
        mixed = {axis for form in self.forms.values() for term in form.terms for axis in self.mixed(term)}
        if len(mixed) > 1:
            raise NotLegal("states meet along several axes, and weights are matrices along one", cell.states[0].next)
        self.matrix = next(iter(mixed), None)
        self.weights = Weights(self.shape, self.matrix)

    def affine(self, form: LinearForm | Broken, offenders: Sequence[Value]) -> LinearForm:
        if isinstance(form, Broken):
            names = " and ".join(f"`{state.name}`" for state in self.cell.states)
            offender = next(iter(offenders), None)
            raise NotLegal(f"the next value is no sum of {names} times what is known before", offender)
        return form

    def form(self) -> RoundsForm:
        sums = [value for value in self.sums if value.domain is Domain.NODE]
        number = {leaf: place for place, leaf in enumerate([*self.leaves, *sums])}
        unknowns, found = [], []
        for leaf in number:
            hops, rest = self.expanded(leaf)
            source = _collected(rest, leaf) if leaf.op == "sum_in" and rest is not None else rest
            unknowns.append(Unknown(leaf, fitted(source or ops.const(0), leaf.shape, leaf.kind)))
            found += [(self.end(leaf, hop), number[leaf], hop) for hop in hops]
        axes = tuple(sorted({axis for _, _, hop in found for axis in hop.weight.axes} - {self.matrix}))
        if self.matrix is not None and any(axis > self.matrix for axis in axes):
            raise NotLegal("matrices differ from column to column of a state", self.cell.states[0].next)
        arcs = []
        for end, two, hop in found:
            domain = Domain.TURN if "turn" in end or "turn" in STARTS[hop.reads] else Domain.EDGE
            weight = self.weights.repeated(hop.weight, axes)
            arcs.append(Arcs(domain, STARTS[hop.reads], end, number[hop.leaf], two, weight))
        return RoundsForm(tuple(unknowns), tuple(arcs), axes, self.matrix)

    def mixed(self, term: Term) -> Iterator[int]:
        """The axes along which elements of a state meet others."""
        if term.leaf.shape != self.shape or len(term.result) != len(self.shape):
            raise NotLegal("a state is read in another shape", term.leaf)
        for axis in range(len(self.shape)):
            if not term.keeps(axis):
                yield axis
                if term.source(axis) is None or term.source(axis) in term.result:
                    raise NotLegal("elements of a state move in a way that is no matrix along one axis", term.leaf)

    def is_element(self, term: Term) -> bool:
        """Whether a term counts by a number that does not differ along the axis of matrices."""
        if self.matrix is None:
            return True
        letter = term.result[self.matrix]
        return term.keeps(self.matrix) and not any(letter in factor.axes for factor in term.factors)

    def dense(self, term: Term) -> Coefficient | None:
        assert self.matrix is not None, "a term that is no number for each element"
        return dense([term], self.shape, self.matrix)

    def end(self, leaf: Value, hop: _Hop) -> str:
        """Where arcs into an unknown end."""
        if leaf.op == "sum_in":
            return ENDS[str(leaf.attr("via"))]
        return "turn_out" if "turn" in STARTS[hop.reads] else "leaving"

    def expanded(self, leaf: Value) -> tuple[list[_Hop], Value | None]:
        """What an unknown is, or what it sums up, is made of: others, and what does not depend on any.

        Sums over turns are taken apart.
        """
        form = self.forms[leaf]
        hops, source = [], form.rest
        for term in form.terms:
            own = self.hop(term)
            if own.leaf.op != "sum_in" or own.leaf.domain is Domain.NODE:
                hops.append(own)
                continue
            if own.reads or own.leaf.attr("via") != "turn.out":
                raise NotLegal("a sum over turns is passed on along its edge", own.leaf)
            inner, rest = self.expanded(own.leaf)
            outer = _read(own.weight, "turn.out")
            hops += [replace(hop, weight=self.weights.joined(outer, hop.weight)) for hop in inner]
            if rest is not None:
                more = self.weights.weighed(own.weight, _collected(rest, own.leaf))
                source = more if source is None else build.add(source, more)
        return hops, source

    def hop(self, term: Term) -> _Hop:
        if term.through not in STARTS:
            raise NotLegal("a state is read over several edges, or in another shape", term.leaf)
        plain = not term.factors and term.sign > 0
        found = constant(1) if plain else diagonal([term], self.shape) if self.is_element(term) else self.dense(term)
        assert found is not None, "one term"
        return _Hop(term.leaf, term.through, found)


def _leaf(state: State) -> Value:
    return ops.state(state.name, GRAPH, state.shape, state.kind, state.domain)


def _read_affine(value: Value, reader: Reader) -> LinearForm | None:
    """What is read is affine in what is read of the unknowns; coefficients are read along with them."""
    (arg,) = value.args
    form, via = reader.form(arg), str(value.attr("via"))
    assert form is not None, "it depends on states"
    terms = [
        replace(
            term,
            operand=ops.apply("read", term.operand, via=via),
            factors=tuple(Factor(_moved(each.value, via), each.axes, each.selects) for each in term.factors),
            through=(*term.through, via),
        )
        for term in form.terms
    ]
    return made(value, terms, reader.rest(value, arg, form.rest))


_RULES: Mapping[str, Rule] = {
    **{op: ARITHMETIC[op] for op in ("neg", "add", "sub", "mul", "div", "where", "cast", "einsum")},
    "read": _read_affine,
}


def _moved(value: Value, via: str) -> Value:
    """A coefficient as it is read from elsewhere."""
    return ops.apply("read", value, via=via) if value.domain else value


def _read(weight: Coefficient, via: str) -> Coefficient:
    return replace(weight, value=_moved(weight.value, via))


def _collected(rest: Value, total: Value) -> Value:
    """A sum like `total` of what does not depend on unknowns."""
    return ops.apply("sum_in", rest, via=total.attr("via"))
