"""Everything that is derived about one recurrence, as data.

`lsrl.ir.facts.sentences` says it in words, each fact with the lines of the program that it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from lsrl.ir.cell import Cell, State
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.bounds import step_bounds
from lsrl.ir.facts.chains import chain
from lsrl.ir.facts.heads import heads
from lsrl.ir.facts.intervals import Interval, intervals
from lsrl.ir.facts.linear import LinearForm
from lsrl.ir.facts.relations import Jacobian, jacobian
from lsrl.ir.facts.semiring import SemiringForm, SemiringSum, read_semiring, read_semiring_sums
from lsrl.ir.facts.structure import Structure, Transition, product, structure
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import VARYING, Component, components, leaf_of
from lsrl.ir.value import Value, postorder

Steps = tuple[tuple[Value, LinearForm], ...]
"""A chain of affine maps: the value that each acts on, and the form of what it gives."""


class Algebra(StrEnum):
    """The operations over which the next states are affine in the arriving ones."""

    AFFINE = "affine over (+, ×)"
    MAX_PLUS = "affine over (max, +)"
    MIN_PLUS = "affine over (min, +)"
    LOG_SUM_EXP = "affine over (log-sum-exp, +)"
    NONLINEAR = "nonlinear"


JOINS = {"max": Algebra.MAX_PLUS, "min": Algebra.MIN_PLUS, "logaddexp": Algebra.LOG_SUM_EXP}


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What is known about states that need each other.  It holds for all sizes.

    Attributes:
        states: in the order of declaration.
        leaves: their values as they arrive; over a grid a state has one for each of its axes.
        algebra: see `Algebra`.
        forms: affine over (+, ×): the next value of each state as one form in all of the leaves; a state whose form
            would have too many terms is missing, but has a chain.
        chains: a single state with a single leaf that is affine: the maps that act one after the other.
        structures: of the transition of each leaf's state to itself, by leaf.
        semiring: the form in another algebra.
        semirings: over a grid, that of the next value of each of several states.
        offenders: the values whose operation is why the states are not affine over (+, ×).
        jacobian: which elements of the states meet in one step.
        heads: for each state the axes that everything it is made of has.
        bounds: of each state at every position, when it starts where the program says.
        coefficients: of the transitions, with their bounds.
        varying: the coefficients, and leaves inside of operands, that differ from position to position.
    """

    states: tuple[State, ...]
    leaves: tuple[Value, ...]
    algebra: Algebra
    forms: Mapping[str, LinearForm]
    chains: Mapping[str, Steps]
    structures: Mapping[Value, Structure]
    semiring: SemiringForm | None
    semirings: Mapping[str, SemiringSum]
    offenders: tuple[Value, ...]
    jacobian: Jacobian
    heads: Mapping[str, frozenset[int]]
    bounds: Mapping[str, Interval]
    coefficients: Mapping[Value, Interval]
    varying: tuple[Value, ...]

    @property
    def time_invariant(self) -> bool:
        """Whether the transition is the same at every position."""
        return self.algebra is Algebra.AFFINE and not self.varying


@lru_cache(maxsize=8)  # every schedule of every recurrence asks for them
def recurrences(cell: Cell) -> tuple[Recurrence, ...]:
    """The recurrences of a cell, in the order in which they can run.

    Raises:
        PipelineError: forward and reversed states need each other.
    """
    known = step_bounds(cell)
    return tuple(_recurrence(cell, part, known) for part in components(cell) if part.cyclic)


def joint(cell: Cell, part: Component) -> Recurrence:
    """What is known about several recurrences of a cell as one.

    Raises:
        PipelineError: forward and reversed states need each other.
    """
    return next((each for each in recurrences(cell) if each.states == part.states), None) or _recurrence(
        cell, part, step_bounds(cell)
    )


def _recurrence(cell: Cell, part: Component, known: Mapping[Value, Interval]) -> Recurrence:
    nexts = [state.next for state in part.states]
    is_own = leaf_of(part.names)
    leaves = tuple(value for value in postorder(nexts) if is_own(value))
    found, offenders = read_affine(nexts, leaves)
    forms = {state.name: form for state, form in zip(part.states, found) if form is not None}
    alone = len(part.states) == len(leaves) == 1
    steps = chain(leaves[0], nexts[0]) if alone else ()
    affine = len(forms) == len(part.states) or bool(steps)
    sparsity = jacobian(part.states)
    owned = {state.name: heads(state, sparsity.lanes[state.name]) for state in part.states}
    structures = dict(_structures(leaves, forms, steps, owned)) if affine else {}
    semiring = read_semiring(nexts[0], leaves[0]) if alone and not affine else None
    sums = read_semiring_sums(nexts, leaves) if is_grid(cell) and not affine else ()
    semirings = {state.name: form for state, form in zip(part.states, sums)}
    used = [form for forms_of in ([*forms.values()], [form for _, form in steps]) for form in forms_of if affine]
    coefficients = dict.fromkeys(value for form in used for value in form.coefficients)
    return Recurrence(
        states=part.states,
        leaves=leaves,
        algebra=_algebra(affine, semiring or next(iter(sums), None)),
        forms=forms if affine else {},
        chains={part.states[0].name: steps} if steps else {},
        structures=structures,
        semiring=semiring,
        semirings=semirings,
        offenders=() if affine else offenders,
        jacobian=sparsity,
        heads=owned,
        bounds={state.name: known[state.next] | known[leaf] for state, leaf in _arriving(part, leaves)},
        coefficients={value: _bound(value, known) for value in coefficients},
        varying=tuple(value for value in (*coefficients, *_hidden(used)) if _varies(value)),
    )


def _hidden(forms: list[LinearForm]) -> Iterator[Value]:
    """What is inside of operands that went through other operations."""
    for term in (term for form in forms for term in form.terms if term.through):
        yield from (value for value in postorder([term.operand]) if not value.args and value is not term.leaf)


def _varies(value: Value) -> bool:
    return any(leaf.op in VARYING for leaf in postorder([value]))


def _arriving(part: Component, leaves: tuple[Value, ...]) -> list[tuple[State, Value]]:
    return [(state, leaf) for state in part.states for leaf in leaves if leaf.attr("name") == state.name]


def _bound(value: Value, known: Mapping[Value, Interval]) -> Interval:
    """Coefficients can be values that the program does not have: their bounds follow from those of their operands."""
    return intervals([value], known)[value]


def _algebra(affine: bool, semiring: SemiringForm | SemiringSum | None) -> Algebra:
    if affine:
        return Algebra.AFFINE
    return Algebra.NONLINEAR if semiring is None else JOINS[semiring.join]


def _structures(
    leaves: tuple[Value, ...], forms: Mapping[str, LinearForm], steps: Steps, owned: Mapping[str, frozenset[int]]
) -> list[tuple[Value, Structure]]:
    """Of one form where there is one, unless it hides a product of several maps."""
    if steps:
        parts = product([structure(form, waist, owned[_name(leaves[0])]) for waist, form in steps])
        whole = forms.get(_name(leaves[0]))
        if whole is None or parts.kind is Transition.PRODUCT:
            return [(leaves[0], parts)]
    return [(leaf, structure(forms[_name(leaf)], leaf, owned[_name(leaf)])) for leaf in leaves]


def _name(leaf: Value) -> str:
    return str(leaf.attr("name"))
