"""Which recurrences a scan serves, in what form, and what the others are told."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import lsrl
from lsrl.backends.evaluation.scope import Scope
from lsrl.check_facts import random_point, value_at
from lsrl.ir import build
from lsrl.ir.cell import Cell
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.coefficients import Coefficient
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.scan_form import ScanForm, scan_form
from lsrl.ir.value import Value
from support.programs import Case, bound
from support.scan_programs import SCANS


def forms(cell: Cell, sizes: Mapping[str, int]) -> dict[str, ScanForm]:
    """The forms of all recurrences of numbers, by their first state."""
    parts = [part for part in components(cell) if part.cyclic and part.states[0].kind != "int"]
    return {part.states[0].name: scan_form(cell, part, sizes) for part in parts}


def step(form: ScanForm, place: int) -> Value:
    """The next value of one state as its form says it, built anew."""
    leaf = form.leaves[place]
    rest = form.rest[place]
    parts = [_acting(form, entry, other) for entry, other in zip(form.matrix[place], form.leaves) if entry is not None]
    parts += [rest.value] if rest is not None else []
    total = parts[0]
    for part in parts[1:]:
        total = build.add(total, part) if form.join == "add" else build.binary(form.join, total, part)
    return build.full(leaf.shape, total)


def _acting(form: ScanForm, entry: Coefficient, leaf: Value) -> Value:
    letters = list(build.LETTERS[: leaf.rank])
    if form.join != "add":
        new = [axis for axis in range(leaf.rank) if axis not in entry.axes]
        return build.add(leaf, build.expand(entry.value, leaf.shape, new))
    axes, read = [letters[axis] for axis in entry.axes], list(letters)
    if form.block is not None:
        axes[entry.axes.index(form.block) + 1] = read[form.block] = "z"
    return build.einsum(f"{''.join(axes)},{''.join(read)}->{''.join(letters)}", entry.value, leaf)


@pytest.mark.parametrize("name", SCANS)
def test_forms_equal_the_step(name: str) -> None:
    """At random points, in float64."""
    cell, sizes = bound(SCANS[name])
    scope = Scope(sizes)
    point = random_point(cell, scope, np.random.default_rng(0))
    for form in forms(cell, sizes).values():
        for place, state in enumerate(form.states):
            found, wanted = (value_at(value, point, scope) for value in (step(form, place), state.next))
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_coefficients_have_only_the_axes_that_they_vary_along() -> None:
    cases = {
        "mlstm": {"m": (0,), "C": (0,), "n": (0,)},
        "retention": {"S": (0,)},
        "decayed": {"S": (0,)},
        "leaky": {"h": (), "total": ()},
    }
    for name, wanted in cases.items():
        found = forms(*bound(SCANS[name]))
        assert {state: form.matrix[0][0].axes for state, form in found.items() if form.matrix[0][0]} == wanted


def test_softmax_like_triples_fall_apart() -> None:
    """A running maximum, then two linear scans below it."""
    found = forms(*bound(SCANS["mlstm"]))
    assert {name: (form.join, form.is_diagonal) for name, form in found.items()} == {
        "m": ("max", True),
        "C": ("add", True),
        "n": ("add", True),
    }


REFUSED = {
    "tanh": ("h' = tanh(h) + x", "`h'` is not affine in `h`"),
    "dense": ("h' = W @ h + x", "the step of `h` mixes all elements along an axis of H = 9"),
    "moved": ("h' = reshape(reshape(h, [1, H]).T, [H]) + x", "`h` goes through reshape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reasons(name: str) -> None:
    line, reason = REFUSED[name]
    cell, sizes = lsrl.parse(
        f"cell c(H=9):\n    input x: [H]\n    param W: [H, H]\n    state h: [H] = 0\n    {line}\n    output h'\n"
    ).bind()
    with pytest.raises(NotLegal) as refusal:
        forms(cell, sizes)
    assert refusal.value.reason.startswith(reason)
    assert refusal.value.value is not None


def test_matrices_are_small_by_the_sizes() -> None:
    """A matrix of eight rows composes cheaply, one of nine does not; without sizes nobody knows."""
    text = (
        "cell c(H):\n    input x: [H]\n    param W: [H, H]\n    state h: [H] = 0\n    h' = W @ h + x\n    output h'\n"
    )
    cell, sizes = bound(Case(text, (("H", 8),)))
    assert forms(cell, sizes)["h"].block == 0
    for given in ({}, {"H": 9}):
        with pytest.raises(NotLegal, match="cheap up to 8 rows"):
            forms(cell, given)


def test_too_many_states_together() -> None:
    names = [f"s{i}" for i in range(5)]
    body = [f"    {name}' = 0.5 * {other} + x" for name, other in zip(names, [*names[1:], names[0]])]
    text = "\n".join(
        ["cell c(H=2):", "    input x: [H]", f"    state {', '.join(names)}: [H] = 0", *body, "    output s0'", ""]
    )
    cell, sizes = bound(Case(text))
    with pytest.raises(NotLegal, match="5 states that need each other"):
        forms(cell, sizes)
