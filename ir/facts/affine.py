"""Which values are affine in the states of a recurrence, and how: abstract interpretation of the graph.

Every value that depends on the states is either a `LinearForm` or `Broken`.  What is broken first, by an operation
whose operands were still affine, is an offender: the reason why a recurrence is not affine.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from math import prod

from lsrl.ir import build, ops
from lsrl.ir.facts.factors import repeated, scaled
from lsrl.ir.facts.linear import MOST_LETTERS, LinearForm, Term, fitted, term_value
from lsrl.ir.facts.matrices import is_eye, opened, summands
from lsrl.ir.value import Kind, Value, postorder

MOST_TERMS = 64


@dataclass(frozen=True, slots=True)
class Broken:
    """A value that is not affine; `here` when its own operation breaks it."""

    here: bool


Abstract = LinearForm | Broken


class Reader:
    """What the rules need to know: the forms of the operands, and letters that nobody used."""

    def __init__(self, leaves: Iterable[Value]) -> None:
        self._letters = count()
        self.forms: dict[Value, Abstract] = {leaf: self._leaf(leaf) for leaf in leaves}

    def _leaf(self, leaf: Value) -> LinearForm:
        letters = self.letters(leaf.rank)
        term = Term(leaf, leaf, tuple(range(leaf.rank)), letters, (), letters)
        return LinearForm(leaf.shape, leaf.kind, (term,), None)

    def letters(self, number: int) -> tuple[int, ...]:
        return tuple(next(self._letters) for _ in range(number))

    def form(self, value: Value) -> LinearForm | None:
        """The form of an operand, or None when it does not depend on the states."""
        found = self.forms.get(value)
        assert not isinstance(found, Broken)
        return found

    def rest(self, value: Value, arg: Value, part: Value | None) -> Value | None:
        """`value` with the operand `arg` replaced by its rest."""
        if part is None:
            return None
        args = tuple(part if each is arg else each for each in value.args)
        return ops.apply(value.op, *args, **dict(value.attrs))


Rule = Callable[[Value, Reader], LinearForm | None]
"""The form of a value of whose operands at least one depends on the states and none is broken; None: not affine."""


def interpret(
    roots: Sequence[Value], leaves: Sequence[Value], rules: Mapping[str, Rule]
) -> tuple[tuple[Abstract, ...], tuple[Value, ...]]:
    """The forms of the roots in terms of the leaves, and the offenders among what they depend on.

    A root that does not depend on the leaves is its own rest.
    """
    reader = Reader(leaves)
    for value in postorder(roots, stop=reader.forms.__contains__):
        if value in reader.forms or not any(arg in reader.forms for arg in value.args):
            continue
        if any(isinstance(reader.forms.get(arg), Broken) for arg in value.args):
            reader.forms[value] = Broken(here=False)
            continue
        rule = rules.get(value.op)
        form = rule(value, reader) if rule else None
        reader.forms[value] = form if form is not None and _is_small(form) else Broken(here=True)
    found = tuple(reader.forms.get(root, LinearForm(root.shape, root.kind, (), root)) for root in roots)
    offenders = [v for v, form in reader.forms.items() if isinstance(form, Broken) and form.here]
    return found, tuple(offenders)


def _is_small(form: LinearForm) -> bool:
    used = (len({*t.axes, *t.result, *(a for f in t.factors for a in f.axes)}) for t in form.terms)
    return len(form.terms) <= MOST_TERMS and all(number <= MOST_LETTERS for number in used)


def made(value: Value, terms: Iterable[Term], rest: Value | None) -> LinearForm:
    """The form of `value`."""
    fit = None if rest is None else fitted(rest, value.shape, value.kind)
    return LinearForm(value.shape, value.kind, tuple(terms), fit)


def spread(term: Term, value: Value, reader: Reader) -> Term:
    """A scalar term repeated to the shape of `value`; a term of that shape as it is."""
    if len(term.result) == value.rank:
        return term
    new = reader.letters(value.rank)
    return repeated(replace(term, result=new), new, value.shape)


def negated(term: Term) -> Term:
    return replace(term, sign=-term.sign)


def _neg(value: Value, reader: Reader) -> LinearForm | None:
    (arg,) = value.args
    form = _some(reader.form(arg))
    return made(value, map(negated, form.terms), reader.rest(value, arg, form.rest))


def _sum(value: Value, reader: Reader) -> LinearForm | None:
    left, right = (taken(arg, reader) for arg in value.args)
    minus = value.op == "sub"
    terms = [*left.terms, *(map(negated, right.terms) if minus else right.terms)]
    rest = left.rest
    if right.rest is not None:
        alone = build.neg(right.rest) if minus else right.rest
        rest = alone if rest is None else ops.apply(value.op, rest, right.rest)
    return made(value, (spread(term, value, reader) for term in terms), rest)


def _mul(value: Value, reader: Reader) -> LinearForm | None:
    dependent = [arg for arg in value.args if reader.form(arg)]
    if len(dependent) > 1:
        return None
    (arg,) = dependent
    other = value.args[1] if arg is value.args[0] else value.args[0]
    return _times(value, arg, other, reader)


def _div(value: Value, reader: Reader) -> LinearForm | None:
    arg, divisor = value.args
    if reader.form(divisor):
        return None
    return _times(value, arg, build.div(1, divisor), reader)


def _times(value: Value, arg: Value, coefficient: Value, reader: Reader) -> LinearForm:
    form = _some(reader.form(arg))
    terms = (spread(term, value, reader) for term in form.terms)
    return made(
        value,
        (scaled(term, coefficient, term.result if coefficient.rank else ()) for term in terms),
        reader.rest(value, arg, form.rest),
    )


def _where(value: Value, reader: Reader) -> LinearForm | None:
    """A choice masks the coefficients; rests are chosen themselves, so that an infinite one not taken leaves no nan."""
    condition, yes, no = value.args
    if reader.form(condition):
        return None
    chosen = build.cast(condition, Kind.FLOAT)
    sides = ((taken(yes, reader), chosen), (taken(no, reader), build.sub(1, chosen)))
    wide = [(spread(term, value, reader), mask) for form, mask in sides for term in form.terms]
    terms = [scaled(term, mask, term.result if mask.rank else ()) for term, mask in wide]
    rests = [form.rest for form, _ in sides]
    if rests == [None, None]:
        return made(value, terms, None)
    first, second = (fitted(rest or ops.const(0), value.shape, value.kind) for rest in rests)
    return made(value, terms, build.where(condition, first, second))


def _cast(value: Value, reader: Reader) -> LinearForm | None:
    """Upwards only: a float made an int is rounded, a complex number made real loses a part."""
    (arg,) = value.args
    order = list(Kind)
    if arg.kind is Kind.BOOL or order.index(value.kind) < order.index(arg.kind):
        return None
    form = _some(reader.form(arg))
    return made(value, form.terms, reader.rest(value, arg, form.rest))


def _einsum(value: Value, reader: Reader) -> LinearForm | None:
    left, result = str(value.attr("spec")).split("->")
    operands = list(zip(left.split(","), value.args))
    dependent = [(letters, arg) for letters, arg in operands if reader.form(arg)]
    if len(dependent) > 1:
        return None
    ((own, arg),) = dependent
    form = _some(reader.form(arg))
    plain = [pair for pair in operands if pair[1] is not arg]
    others = [each for letters, factor in plain for each in opened(letters, factor)]
    parts = [summands(factor) for _, factor in others]
    if prod(map(len, parts)) * len(form.terms) > MOST_TERMS:
        others, parts = [*plain], [[(1, factor)] for _, factor in plain]
    choices = list(product(*parts))
    terms = []
    for term in form.terms:
        for choice in choices:
            signs = [sign for sign, _ in choice]
            chosen = [(letters, part) for (letters, _), (_, part) in zip(others, choice)]
            whole = _contracted(term, own, chosen, result, reader)
            terms.append(replace(whole, sign=whole.sign * prod(signs)))
    return made(value, terms, reader.rest(value, arg, form.rest))


def _contracted(
    term: Term, own: str, others: Sequence[tuple[Sequence[Hashable], Value]], result: str, reader: Reader
) -> Term:
    """A term in an einsum: the spec's letters become the term's, equal letters become one."""
    table: dict[Hashable, int] = {}
    same: dict[int, int] = {}
    for letter, number in zip(own, term.result):
        same[number] = table.setdefault(letter, number)
    for name in (name for names, _ in others for name in names):
        if name not in table:
            table[name] = reader.letters(1)[0]
    joined = renamed(term, same)
    for names, value in others:
        joined = scaled(replace(joined, result=()), value, tuple(table[name] for name in names))
    return _without_eyes(replace(joined, result=tuple(table[letter] for letter in result)))


def _without_eyes(term: Term) -> Term:
    """An identity between an axis of the state and one that it creates, or sums over, gives it another name only."""
    for factor in term.factors:
        if is_eye(factor.value) and not set(factor.axes) <= set(term.result):
            old, new = sorted(factor.axes, key=term.axes.__contains__)
            left = tuple(each for each in term.factors if each is not factor)
            return _without_eyes(renamed(replace(term, factors=left), {old: new}))
    return term


def renamed(term: Term, table: Mapping[int, int]) -> Term:
    """The term with other letters."""

    def new(axes: Sequence[int]) -> tuple[int, ...]:
        return tuple(table.get(axis, axis) for axis in axes)

    factors = tuple(replace(factor, axes=new(factor.axes)) for factor in term.factors)
    return replace(term, axes=new(term.axes), factors=factors, result=new(term.result))


def opaque(value: Value, arg: Value, kept: Sequence[int | None], reader: Reader) -> LinearForm:
    """A linear operation that is no einsum: applied to each term, it makes the operand of a new one.

    Args:
        kept: for each axis of `value`, the axis of `arg` that it is, element for element, or None.
    """
    form = _some(reader.form(arg))
    terms = []
    for term in form.terms:
        part = fitted(term_value(term), arg.shape, arg.kind)
        operand = ops.apply(value.op, *(part if each is arg else each for each in value.args), **dict(value.attrs))
        letters = reader.letters(value.rank)
        terms.append(Term(term.leaf, operand, _origins(term, kept), letters, (), letters, 1, (*term.through, value.op)))
    return made(value, terms, reader.rest(value, arg, form.rest))


def _origins(term: Term, kept: Sequence[int | None]) -> tuple[int | None, ...]:
    places = dict(zip(term.axes, term.origin))
    return tuple(None if axis is None else places.get(term.result[axis]) for axis in kept)


def _partly(value: Value, reader: Reader) -> LinearForm | None:
    """Real part, imaginary part and conjugate are linear over the reals only, hence in a real state only."""
    (arg,) = value.args
    form = _some(reader.form(arg))
    if any(term.leaf.kind is Kind.COMPLEX for term in form.terms):
        return None
    return opaque(value, arg, range(value.rank), reader)


def _same_axes(value: Value, reader: Reader) -> LinearForm | None:
    return opaque(value, value.args[0], range(value.rank), reader)


def _other_shape(value: Value, reader: Reader) -> LinearForm | None:
    return opaque(value, value.args[0], [None] * value.rank, reader)


def _stencil(value: Value, reader: Reader) -> LinearForm | None:
    dependent = [arg for arg in value.args if reader.form(arg)]
    return opaque(value, dependent[0], [None] * value.rank, reader) if len(dependent) == 1 else None


def _solve(value: Value, reader: Reader) -> LinearForm | None:
    """Linear in the right side, by the inverse; not in the matrix."""
    matrix, right = value.args
    if reader.form(matrix):
        return None
    lead = build.LETTERS[3 : 3 + value.rank - 2]
    spec = f"{lead}ab,{lead}bc->{lead}ac"
    identity = build.expand(build.eye(matrix.shape[-1]), matrix.shape, range(value.rank - 2))
    form = _einsum(build.einsum(spec, ops.apply("solve", matrix, identity), right), reader)
    return form and replace(form, rest=reader.rest(value, right, _some(reader.form(right)).rest))


def taken(value: Value, reader: Reader) -> LinearForm:
    """The form of an operand; one that does not depend on the states is its own rest."""
    return reader.form(value) or LinearForm(value.shape, value.kind, (), value)


def _some(form: LinearForm | None) -> LinearForm:
    assert form is not None, "a rule is asked for values that depend on states"
    return form


ARITHMETIC: Mapping[str, Rule] = {
    "neg": _neg,
    "add": _sum,
    "sub": _sum,
    "mul": _mul,
    "div": _div,
    "where": _where,
    "cast": _cast,
    "einsum": _einsum,
    "solve": _solve,
    "reshape": _other_shape,
    **dict.fromkeys(("re", "im", "conj"), _partly),
    **dict.fromkeys(("stopgrad", "read", "sum_in"), _same_axes),
    **dict.fromkeys(("conv", "conv_dx", "conv_dw"), _stencil),
}
