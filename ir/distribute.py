"""Products with matrices that are diagonal plus something, taken apart where a recurrence goes through them.

    S @ (diag(w) - outer(a, b))   ->   einsum("v k, k -> v k", S, w) - outer(S @ a, b)

A step then multiplies a state by vectors where the program says matrices.  This reassociates sums and products, hence
results agree to rounding.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from lsrl.ir import build
from lsrl.ir.cell import Cell
from lsrl.ir.facts.affine_layout import read_affine
from lsrl.ir.facts.linear import Letters, Term, fitted
from lsrl.ir.facts.matrices import pieces
from lsrl.ir.pipeline import components, leaf_of
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Value, depends_on

Operand = tuple[Value, Letters]


def distribute(cell: Cell) -> Cell:
    """The cell with these products taken apart, in every recurrence."""
    found = {value: apart for core in _cores(cell) for value in core if (apart := _apart(value, core)) is not None}
    return substitute(cell, found) if found else cell


def _cores(cell: Cell) -> Iterator[frozenset[Value]]:
    """For each recurrence the values on its cycles: they need its states, and its next values need them."""
    for part in components(cell):
        if part.cyclic:
            yield depends_on([state.next for state in part.states], leaf_of(part.names))


def _apart(value: Value, core: frozenset[Value]) -> Value | None:
    dependent = [arg for arg in value.args if arg in core]
    if value.op != "einsum" or len(dependent) != 1:
        return None
    if all(len(pieces(arg)) == 1 for arg in value.args if arg not in dependent):
        return None
    (form,), _ = read_affine([value], dependent)
    if form is None or form.rest is not None or len(form.terms) < 2:
        return None
    total: Value | None = None
    for term in form.terms:
        part = fitted(_product(term), value.shape, value.kind)
        if total is None:
            total = part if term.sign > 0 else build.neg(part)
        else:
            total = build.add(total, part) if term.sign > 0 else build.sub(total, part)
    return total


def _product(term: Term) -> Value:
    """One term without its sign: what is summed over first, so that a matrix of rank one is never multiplied out."""
    summed = set(term.axes) - set(term.result)
    reading = [(factor.value, factor.axes) for factor in term.factors if summed & set(factor.axes)]
    others = [(factor.value, factor.axes) for factor in term.factors if not summed & set(factor.axes)]
    state: Operand = (term.operand, term.axes)
    if reading and others:
        state = _einsum([state, *_merged(reading)], _wanted(state, reading, others, term.result))
        reading = []
    return _einsum([state, *_merged(reading), *_merged(_numbers(others, {*state[1], *term.result}))], term.result)[0]


def _numbers(operands: Sequence[Operand], kept: Container[int]) -> list[Operand]:
    """Operands, those multiplied out that share a letter which nothing else has: `a . k` is a number."""
    found = [*operands]
    for letter in dict.fromkeys(letter for _, axes in found for letter in axes if letter not in kept):
        meeting = [operand for operand in found if letter in operand[1]]
        axes = tuple(dict.fromkeys(each for _, axes in meeting for each in axes if each != letter))
        found = [*(operand for operand in found if operand not in meeting), _einsum(meeting, axes)]
    return found


def _merged(operands: Sequence[Operand]) -> list[Operand]:
    """Operands, each multiplied into another one that has its axes: they are known before the state is."""
    found: list[Operand] = []
    for operand in sorted(operands, key=lambda each: -len(each[1])):
        place = next((n for n, (_, axes) in enumerate(found) if set(operand[1]) <= set(axes)), None)
        if place is None:
            found.append(operand)
        else:
            found[place] = _einsum([found[place], operand], found[place][1])
    return found


def _wanted(state: Operand, reading: Sequence[Operand], others: Sequence[Operand], result: Letters) -> Letters:
    """The letters of what is read that anything needs later."""
    later = {*result, *(letter for _, axes in others for letter in axes)}
    known = dict.fromkeys([*state[1], *(letter for _, axes in reading for letter in axes)])
    return tuple(letter for letter in known if letter in later)


def _einsum(operands: Sequence[Operand], result: Letters) -> Operand:
    if len(operands) == 1 and operands[0][1] == result:
        return operands[0]
    names: dict[int, str] = {}
    spelt = ["".join(names.setdefault(letter, build.LETTERS[len(names)]) for letter in axes) for _, axes in operands]
    spec = f"{','.join(spelt)}->{''.join(names[letter] for letter in result)}"
    return build.einsum(spec, *(value for value, _ in operands)), result
