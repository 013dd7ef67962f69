"""From the graph of a step to scalars: what a ReLU network with linear states has to compute.

What does not vary from step to step is computed by the reference.  Everything else becomes arrays of affine forms over
scalars (`lsrl.backends.weights.pool`); layouts move forms as they move numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation import axes
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.ranges import Range
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.weights.affine import BOOLEAN, UNKNOWN, Affine, Extent, constant, unit_of
from lsrl.backends.weights.arithmetic import NotHeld
from lsrl.backends.weights.faults import NotExact, at_line
from lsrl.backends.weights.forms import Forms, array_of, forms_of
from lsrl.backends.weights.linear_bounds import linear_bounds
from lsrl.backends.weights.pool import Pool
from lsrl.backends.weights.scalar import Scalar, Sort
from lsrl.ir.cell import TIME, Cell, Input, State
from lsrl.ir.value import Kind, Value, depends_on, postorder

LAYOUTS = ("transpose", "reshape", "expand", "slice", "select", "flip", "concat")
MOST_SCALARS = 1 << 20


@dataclass(frozen=True)
class Update:
    """One number of a state: where it starts and what it becomes, an affine form that may use arriving scalars.

    `origin` is the next value of the whole state.
    """

    name: str
    start: float
    form: Affine
    origin: Value


@dataclass(frozen=True)
class Scalars:
    """A program taken apart into numbers.

    Attributes:
        scalars: by number.
        inputs, outputs: name and shape, in the order of declaration; their elements follow each other, row-major.
        updates: every number of every state.
        results: every number of every output.
        values: the forms of every value of the program that has a name.
        cell: the program.
    """

    scalars: tuple[Scalar, ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    updates: tuple[Update, ...]
    results: tuple[Affine, ...]
    values: Mapping[str, Forms]
    cell: Cell

    def place(self, origin: Value, owner: Value | None = None) -> str:
        """A value of the program and its line, for people, and what it is part of where that is in another file."""
        return at_line(self.cell, origin, owner)

    def expanded(self, form: Affine) -> Affine:
        """The form over scalars that are no names."""
        while named := {n for n, _ in form.terms if self.scalars[n].sort is Sort.NAME}:
            form = form.replaced({number: self.scalars[number].forms[0] for number in named})
        return form

    def extent(self, form: Affine) -> Extent:
        return form.extent(lambda number: self.scalars[number].extent)


def lower(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Mapping[str, Array],
    known: Mapping[Value, Range],
    horizon: int,
    *,
    snapping: bool = False,
) -> Scalars:
    """Take a step apart.

    Args:
        params: the numbers of all parameters.
        known: the ranges of all values (`lsrl.backends.ranges`).
        horizon: the longest sequence.
        snapping: comparisons stop errors of what they compare, by a layer more (`Pool.snapping`).

    Raises:
        NotExact: the program does what no network of affine maps, ReLUs, products and linear states holds.
    """
    _check_kind_of_program(cell)
    scope = Scope(sizes)
    varying = depends_on(cell.roots(), lambda value: value.op in ("input", "state", "noise"))
    lowering = _Lowering(cell, scope, known, horizon, Pool(snapping), {}, _static(cell, scope, params, varying))
    return lowering.run(varying)


def _check_kind_of_program(cell: Cell) -> None:
    if cell.axes != (TIME,):
        raise NotExact(f"{cell.name} runs over {', '.join(cell.axes)}; networks of `--target weights` run along a line")
    reversed_state = next((state.name for state in cell.states if state.reverse), None)
    if reversed_state is not None:
        raise NotExact(f"{reversed_state} runs from the end to the start; the networks run from the start to the end")
    if cell.noises:
        raise NotExact(f"{cell.noises[0].name} is noise; weights hold what is the same in every run")


def _static(cell: Cell, scope: Scope, params: Mapping[str, Array], varying: frozenset[Value]) -> dict[Value, Array]:
    """The numbers of everything that is the same at every step, as the reference computes them."""
    env = {value: params[str(value.attr("name"))] for value in postorder(cell.all_roots()) if value.op == "param"}
    wanted = [state.init for state in cell.states]
    wanted += [arg for value in varying for arg in value.args if arg not in varying]
    wanted += [output.value for output in cell.outputs if output.value not in varying]
    wanted += [state.next for state in cell.states if state.next not in varying]
    evaluate(wanted, env, scope)
    return env


@dataclass
class _Lowering:
    cell: Cell
    scope: Scope
    known: Mapping[Value, Range]
    horizon: int
    pool: Pool
    forms: dict[Value, Forms]
    static: Mapping[Value, Array]

    def run(self, varying: frozenset[Value]) -> Scalars:
        starts = {state.name: self.static[state.init] for state in self.cell.states}
        places = self._declare(starts)
        following: dict[Value, list[State]] = {}
        for state in self.cell.states:
            following.setdefault(state.next, []).append(state)
        updates: dict[str, Forms] = {}
        for value in postorder(self.cell.roots()):
            if value not in varying:
                continue
            if value not in self.forms:
                self.forms[value] = self._lowered(value)
            forms = self.forms[value]
            for state in following.get(value, ()):
                updates[state.name] = forms
                self.forms[value] = self._as_new_state(value, forms, places[state.name], starts[state.name])
            if len(self.pool.scalars) > MOST_SCALARS:
                raise NotExact(f"{self.cell.name} takes more than {MOST_SCALARS:,} scalars")
        for state in self.cell.states:
            updates.setdefault(state.name, self._of(state.next))
        return Scalars(
            tuple(self.pool.scalars),
            tuple((given.name, self.scope.shape(given.shape)) for given in self.cell.inputs),
            tuple((given.name, self.scope.shape(given.value.shape)) for given in self.cell.outputs),
            tuple(
                Update(
                    _element_name(state.name, index),
                    float(starts[state.name].item(index)),
                    updates[state.name].item(index),
                    state.next,
                )
                for state in self.cell.states
                for index in np.ndindex(starts[state.name].shape)
            ),
            tuple(form for output in self.cell.outputs for form in self._of(output.value).ravel()),
            {name: self._of(value) for value, name in self.cell.names.items() if value in self.forms},
            self.cell,
        )

    def _declare(self, starts: Mapping[str, Array]) -> dict[str, int]:
        """Scalars for the elements of inputs and arriving states; where each state's elements begin."""
        leaves = {
            (value.op, str(value.attr("name"))): value
            for value in postorder(self.cell.roots())
            if value.op in ("input", "state")
        }
        begin = 0
        for given in self.cell.inputs:
            leaf = leaves.get(("input", given.name))
            shape = self.scope.shape(given.shape)
            if leaf is not None:
                self.forms[leaf] = self._leaves(leaf, Sort.INPUT, begin, shape)
            else:
                self._unread(given, begin, int(np.prod(shape)))
            begin += int(np.prod(shape))
        places, begin = {}, 0
        for state in self.cell.states:
            leaf = leaves.get(("state", state.name))
            if leaf is not None:
                self.forms[leaf] = self._leaves(leaf, Sort.ARRIVING, begin, starts[state.name].shape)
            places[state.name] = begin
            begin += starts[state.name].size
        return places

    def _unread(self, given: Input, begin: int, size: int) -> None:
        """An input that the program does not use: a network has it nevertheless, and its samples are of its kind."""
        most = given.bound.evaluate(self.scope.sizes) - 1.0 if given.bound is not None else math.inf
        whole = Extent(0 if given.bound is not None else -math.inf, most, 1)
        extent = {Kind.BOOL: BOOLEAN, Kind.INT: whole}.get(given.kind, UNKNOWN)
        for element in range(begin, begin + size):
            self.pool.leaf(Sort.INPUT, element, extent)

    def _leaves(self, leaf: Value, sort: Sort, begin: int, shape: tuple[int, ...]) -> Forms:
        self.pool.origin = leaf
        known = extents(self.known[leaf])
        return array_of([self.pool.leaf(sort, begin + k, each) for k, each in enumerate(known)], shape)

    def _as_new_state(self, value: Value, forms: Forms, begin: int, start: Array) -> Forms:
        """What users of a next state see: the state itself, where that saves them from computing it once more.

        An element that does not depend on what arrives is no recurrence, and is left as it is.
        """
        if not self.known[value].bounded:
            self._bound_linear(forms, begin, start)
        found = []
        for k, (form, known) in enumerate(zip(forms.ravel(), extents(self.known[value]))):
            recurrent = any(self.pool.scalars[n].sort is Sort.ARRIVING for n, _ in self.pool.expanded(form).terms)
            extent = self.pool.extent(form) & known
            found.append(self.pool.leaf(Sort.STATE, begin + k, extent) if recurrent else form)
        return array_of(found, forms.shape)

    def _bound_linear(self, forms: Forms, begin: int, start: Array) -> None:
        """Bound what arrives of a state that reads no other, and that single steps do not bound."""
        size = forms.size
        A, inputs = np.zeros((size, size)), []
        for k, form in enumerate(map(self.pool.expanded, forms.ravel())):
            last = {n: self.pool.scalars[n].element - begin for n, _ in form.terms if self._is_arriving(n)}
            if not all(0 <= element < size for element in last.values()):
                return
            for number, factor in form.terms:
                if number in last:
                    A[k, last[number]] = factor
            others = tuple(term for term in form.terms if term[0] not in last)
            inputs.append(self.pool.extent(Affine(others, form.constant)))
        low, high = (np.array([getattr(extent, end) for extent in inputs]) for end in ("low", "high"))
        first = start.ravel().astype(np.float64)
        least, most = linear_bounds(A, low, high, first, self.horizon)
        for number, scalar in enumerate(self.pool.scalars):
            if scalar.sort is Sort.ARRIVING and 0 <= (k := scalar.element - begin) < size:
                bounds = Extent(min(least[k], first[k]), max(most[k], first[k]))
                self.pool.scalars[number] = replace(scalar, extent=scalar.extent & bounds)

    def _is_arriving(self, number: int) -> bool:
        return self.pool.scalars[number].sort is Sort.ARRIVING

    def _of(self, value: Value) -> Forms:
        """The forms of a value, constants where it does not vary."""
        if value not in self.forms:
            numbers = np.asarray(self.static[value], np.float64)
            self.forms[value] = array_of([constant(number) for number in numbers.ravel()], numbers.shape)
        return self.forms[value]

    def _lowered(self, value: Value) -> Forms:
        self.pool.origin = value
        try:
            found = self._computed(value)
        except NotHeld as fault:
            raise NotExact(f"no network holds {at_line(self.cell, value)}: {fault.reason}") from fault
        known = extents(self.known[value])
        return array_of([self.pool.named(form, each) for form, each in zip(found.ravel(), known)], found.shape)

    def _computed(self, value: Value) -> Forms:
        args = [self._of(arg) for arg in value.args]
        if value.op in LAYOUTS:
            return axes.KERNELS[value.op](value, args, self.scope)
        return forms_of(self.pool, value, args, self.known)


def extents(known: Range) -> list[Extent]:
    """The range of every element, row-major."""
    unit = 0.0
    if known.grid is not None and known.grid.dyadic:
        unit = min(unit_of(float(known.grid.step)), unit_of(float(known.grid.offset)))
    return [Extent(float(low), float(high), unit) for low, high in zip(known.low.ravel(), known.high.ravel())]


def _element_name(name: str, index: tuple[int, ...]) -> str:
    return name + (f"[{', '.join(map(str, index))}]" if index else "")
