"""The scalars of a program: every number that a ReLU network has to compute, each once.

A scalar is an element of an input, of an arriving or new state, a ReLU of an affine form, a product of two, or a name
for an affine form of which more is known than its parts say (a truth value, say, which is the difference of two
ReLUs).  Equal scalars are one: common subexpressions do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lsrl.backends.weights.affine import (
    BOOLEAN,
    Affine,
    Extent,
    constant,
    point,
    power_above,
    scalar,
    total,
    unit_is_exact,
)
from lsrl.backends.weights.scalar import Scalar, Sort
from lsrl.ir.value import Value


@dataclass
class Pool:
    """Scalars under construction; they are numbered in the order of making, operands first."""

    snapping: bool = False
    """Whether every step is in the nested form, which does not pass on the errors of what it reads."""
    scalars: list[Scalar] = field(default_factory=list)
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)
    _names: dict[int, Affine] = field(default_factory=dict)
    _conjuncts: dict[int, tuple[Affine, ...]] = field(default_factory=dict)
    _ramps: dict[int, Affine] = field(default_factory=dict)
    _gates: dict[int, tuple[Affine, ...]] = field(default_factory=dict)
    _recurrent: set[int] = field(default_factory=set)
    origin: Value | None = None
    """The value that is being lowered."""

    def leaf(self, sort: Sort, element: int, extent: Extent) -> Affine:
        """An element of an input or state."""
        return self._made((sort, element), Scalar(sort, (), extent, self.origin, element))

    def extent(self, form: Affine) -> Extent:
        """What is known of a form's values."""
        return form.extent(lambda number: self.scalars[number].extent)

    def expanded(self, form: Affine) -> Affine:
        """The form over scalars that are no names."""
        return form.replaced(self._names)

    def relu(self, form: Affine) -> Affine:
        """max(form, 0); what never changes its sign needs no ReLU."""
        extent = self.extent(form)
        if extent.low >= 0:
            return form
        if extent.high <= 0:
            return constant(0)
        inner = self._inner(self.expanded(form))
        if inner is not None:
            return self.relu(inner)
        made = Scalar(Sort.RELU, (form,), replace(extent, low=0.0), self.origin)
        return self._made((Sort.RELU, self.expanded(form)), made)

    def _inner(self, form: Affine) -> Affine | None:
        """x for which relu(x) is the ReLU of this form: relu(a relu(y) + c) = relu(a y + c) for a > 0 and c <= 0."""
        if len(form.terms) != 1 or form.constant > 0 or form.terms[0][1] < 0:
            return None
        number, factor = form.terms[0]
        scalar = self.scalars[number]
        return scalar.forms[0].scaled(factor).shifted(form.constant) if scalar.sort is Sort.RELU else None

    def named(self, form: Affine, extent: Extent) -> Affine:
        """The same form as a scalar with the extent, where that says more than its parts do."""
        known = self.extent(form)
        both = known & extent
        if form.is_constant or both == known:
            return form
        if both.low == both.high:
            return constant(both.low)
        expanded = self.expanded(form)
        if expanded.constant == 0 and len(expanded.terms) == 1 and expanded.terms[0][1] == 1:
            number = expanded.terms[0][0]
            self.scalars[number] = replace(self.scalars[number], extent=self.scalars[number].extent & both)
            return expanded
        made = self._made((Sort.NAME, expanded), Scalar(Sort.NAME, (form,), both, self.origin))
        self._names[made.terms[0][0]] = expanded
        return made

    def product(self, x: Affine, y: Affine) -> Affine:
        """x y: affine where one is constant, a gate where one is a truth value, else a product."""
        if x.is_constant or y.is_constant:
            return y.scaled(x.constant) if x.is_constant else x.scaled(y.constant)
        if self.extent(x).boolean:
            return self.gate(x, y)
        if self.extent(y).boolean:
            return self.gate(y, x)
        keys = sorted((self.expanded(x), self.expanded(y)), key=lambda form: (form.terms, form.constant))
        extent = self.extent(x) * self.extent(y)
        if keys[0] == keys[1]:
            extent = extent & Extent(low=0.0)
        return self._made((Sort.PRODUCT, *keys), Scalar(Sort.PRODUCT, (x, y), extent, self.origin))

    def gate(self, condition: Affine, x: Affine) -> Affine:
        """x where the truth value holds, else 0.

        For -l <= x <= h: relu(x + l - (h + l) (1 - condition)) - l condition, one ReLU that is exact on a grid of
        dyadic numbers; a real x takes the difference of two, relu(x - m (1 - condition)) and the same of -x, which
        rounds nothing.  Without a bound on x it is a product.
        """
        if condition.is_constant or x.is_constant:
            return self.product(condition, x)
        spread = self._distributed(condition, self._down_to_gates(x))
        if spread is not None:
            return self.named(spread, self.extent(x) | point(0))
        found = self._gate(condition, x)
        if len(found.terms) == 1 and found.constant == 0:
            number, factor = found.terms[0]
            self._gates.setdefault(number, (condition, x.scaled(1 / factor)))
        return found

    def _down_to_gates(self, form: Affine) -> Affine:
        """The form with names written out that last values are part of, except those of gates."""
        while True:
            named = {
                number: self.scalars[number].forms[0]
                for number, _ in form.terms
                if number in self._names and number in self._recurrent and not self._parts_of_gate(number)
            }
            if not named:
                return form
            form = form.replaced(named)

    def _distributed(self, condition: Affine, x: Affine) -> Affine | None:
        """c (x + d y) = c x + (c d) y, where d y is a gate of last values and c is none: one ReLU for two in a row."""
        within = [number for number, _ in x.terms if number in self._recurrent and self._parts_of_gate(number)]
        if not within or self._is_recurrent(condition):
            return None
        rest = Affine(tuple(term for term in x.terms if term[0] not in within), x.constant)
        found = self.product(condition, rest)
        for number, factor in x.terms:
            if number in within:
                *conditions, gated = self._parts_of_gate(number)
                found = found + self.gate(self.conjunction([condition, *conditions]), gated).scaled(factor)
        return found

    def _parts_of_gate(self, number: int) -> tuple[Affine, ...]:
        """Conditions that are no last values, and what they let through; nothing where a scalar is no such gate."""
        parts = (self._conjuncts if number in self._conjuncts else self._gates).get(number, ())
        last = [part for part in parts if self._is_recurrent(part)]
        older = all(other < number for part in parts for other, _ in part.terms)  # what is taken apart gets smaller
        if len(last) != 1 or len(parts) < 2 or not older:
            return ()
        return (*(part for part in parts if part not in last), *last)

    def _is_recurrent(self, form: Affine) -> bool:
        """Whether last values are part of a form, through ReLUs and names too."""
        return any(number in self._recurrent for number, _ in form.terms)

    def _gate(self, condition: Affine, x: Affine) -> Affine:
        extent = self.extent(x)
        if extent.boolean:
            return self.conjunction([condition, x])
        if extent.unit > 0 and extent.bounded:
            condition = self.firm(condition, power_above(extent.largest) / extent.unit)
        if not extent.bounded:
            return self._made(
                (Sort.PRODUCT, self.expanded(condition), self.expanded(x)),
                Scalar(Sort.PRODUCT, (condition, x), extent | point(0), self.origin),
            )
        kept = extent | point(0)
        off = self.negation(condition)
        if extent.low >= 0:
            return self.named(self.relu(x - off.scaled(power_above(extent.high))), kept)
        if extent.high <= 0:
            return self.named(-self.relu(-x - off.scaled(power_above(-extent.low))), kept)
        if extent.unit > 0:
            low, high = power_above(-extent.low), power_above(extent.high)
            moved = self.relu(x.shifted(low) - off.scaled(low + high))
            return self.named(moved - condition.scaled(low), kept)
        most = power_above(extent.largest)
        return self.named(self.relu(x - off.scaled(most)) - self.relu(-x - off.scaled(most)), kept)

    def negation(self, condition: Affine) -> Affine:
        """1 - condition."""
        return constant(1) - condition

    def conjunction(self, conditions: list[Affine]) -> Affine:
        """1 where all truth values are 1: relu(their sum - (n - 1)); a conjunction of conjunctions is one."""
        parts = dict.fromkeys(part for condition in conditions for part in self._parts(condition))
        if constant(0) in parts:
            return constant(0)
        open_parts = [part for part in parts if part != constant(1)]
        if len(open_parts) < 2:
            return open_parts[0] if open_parts else constant(1)
        made = self.relu(total(open_parts).shifted(1.0 - len(open_parts)))
        if made.is_constant:
            return made
        found = self.named(made, BOOLEAN)
        self._conjuncts[found.terms[0][0]] = tuple(open_parts)
        return found

    def disjunction(self, conditions: list[Affine]) -> Affine:
        """1 where any truth value is 1."""
        return self.negation(self.conjunction([self.negation(condition) for condition in conditions]))

    def step(self, x: Affine, low: float, high: float) -> Affine:
        """0 for x <= low and 1 for x >= high; in between, where no value lies, a ramp over the middle half.

        The ramp leaves a quarter of the gap on either side, so the truth value is exact for an x that is off by less.
        What has two values, one on either side, is affine in its step.
        On a grid the difference of two ReLUs is exact; for reals the nested form cancels nothing however large x is.
        """
        extent = self.extent(x)
        if extent.low >= high or extent.high <= low:
            return constant(float(extent.low >= high))
        if self._is_two_valued(x):
            return self.named(x.shifted(-extent.low).scaled(1 / (extent.high - extent.low)), BOOLEAN)
        slope = power_above(2 / (high - low))
        ramp = x.shifted(-(low + high) / 2).scaled(slope).shifted(0.5)
        is_exact = extent.unit > 0 and slope * extent.largest < EXACT_STEP and unit_is_exact(ramp)
        if is_exact and not self.snapping:
            found = self.named(self.relu(ramp) - self.relu(ramp.shifted(-1)), BOOLEAN)
            if len(found.terms) == 1:
                self._ramps[found.terms[0][0]] = ramp
            return found
        return self._nested(ramp)

    def _nested(self, ramp: Affine) -> Affine:
        """clamp(ramp, 0, 1) = 1 - relu(1 - relu(ramp))"""
        return self.named(self.negation(self._snapping(self.negation(self.relu(ramp)))), BOOLEAN)

    def firm(self, condition: Affine, weight: float) -> Affine:
        """A truth value, in a form of which `weight` times each part is exact in float32.

        The two ReLUs of a step are as large as what it compares; multiplied, their difference may round.
        """
        large = {number: self._ramps[number] for number, _ in condition.terms if self._is_large(number, weight)}
        return condition.replaced({number: self._nested(ramp) for number, ramp in large.items()})

    def _is_large(self, number: int, weight: float) -> bool:
        return number in self._ramps and 2 * weight * self.extent(self._ramps[number]).largest > EXACT_STEP

    def _is_two_valued(self, form: Affine) -> bool:
        """Whether a form has the ends of its extent for values, and no others."""
        if len(form.terms) != 1:
            return False
        extent = self.scalars[form.terms[0][0]].extent
        return extent.bounded and extent.high - extent.low == extent.unit

    def _snapping(self, form: Affine) -> Affine:
        """The outer ReLU of a step: what it reads is 1 or at most -1/2, and where it is 1 it has no error."""
        made = self.relu(form)
        number = made.terms[0][0]
        self.scalars[number] = replace(self.scalars[number], extent=BOOLEAN, snaps=0.5)
        return made

    def _parts(self, condition: Affine) -> tuple[Affine, ...]:
        if condition.constant == 0 and len(condition.terms) == 1 and condition.terms[0][1] == 1:
            return self._conjuncts.get(condition.terms[0][0], (condition,))
        return (condition,)

    def _made(self, key: tuple[object, ...], made: Scalar) -> Affine:
        number = self._known.setdefault(key, len(self.scalars))
        if number == len(self.scalars):
            self.scalars.append(made)
            if made.sort is Sort.ARRIVING or any(map(self._is_recurrent, made.forms)):
                self._recurrent.add(number)
        return scalar(number)


EXACT_STEP = 2.0**21
"""Below it float32 has the quarters that a step computes with."""
