"""The form of a recurrence for Newton's method: its Jacobian, which lanes it has, and what is refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import lsrl
from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir import ops
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.pipeline import Component, components
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.schedules.newton_form import newton_form
from lsrl.ir.value import Value, postorder
from support.newton_cells import CASES, PARALSTM
from support.programs import PROGRAMS, Case, bound
from support.running import random_array

TINY = 1e-6


def nonlinear(cell: Cell) -> Component:
    return next(part for part in components(cell) if part.cyclic)


def leaf_arrays(cell: Cell, sizes: dict[str, int]) -> dict[Value, Array]:
    generator = np.random.default_rng(3)
    leaves = [v for v in postorder(cell.roots()) if v.op in ("input", "param", "state")]
    return {v: random_array(generator, tuple(d.evaluate(sizes) for d in v.shape), v.kind) for v in leaves}


@pytest.mark.parametrize("name", CASES)
def test_the_jacobian_is_the_numerical_one(name: str) -> None:
    """All of it: entries that the form leaves out, because they lie between lanes, are zero."""
    cell, sizes = bound(CASES[name])
    form = newton_form(cell, nonlinear(cell), sizes)
    scope, env = Scope(sizes), leaf_arrays(cell, sizes)
    for (i, state), (j, leaf) in product(enumerate(form.states), enumerate(form.leaves)):
        if leaf not in env:
            continue  # nothing reads it
        found = np.broadcast_to(
            evaluate([form.jacobian[i][j]], dict(env), scope)[0],
            tuple(d.evaluate(sizes) for d in form.jacobian[i][j].shape),
        )
        own, other = form.lanes[i], form.lanes[j]
        free = [axis for axis in range(len(state.shape)) if axis not in own]
        for place in np.ndindex(env[leaf].shape):
            wanted = derivative(state.next, leaf, place, env, scope)
            claimed = np.zeros_like(wanted)
            for row in np.ndindex(tuple(wanted.shape[axis] for axis in free)):
                index = [0] * wanted.ndim
                for axis, at in zip(free, row):
                    index[axis] = at
                for mine, its in zip(own, other):
                    index[mine] = place[its]
                claimed[tuple(index)] = found[(*row, *place)]
            np.testing.assert_allclose(claimed, wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_the_diagonal_of_a_dense_jacobian_is_the_numerical_one(name: str) -> None:
    cell, sizes = bound(PROGRAMS[name])
    form = newton_form(cell, nonlinear(cell), sizes, quasi=True)
    scope, env = Scope(sizes), leaf_arrays(cell, sizes)
    for (i, state), (j, leaf) in product(enumerate(form.states), enumerate(form.leaves)):
        found = evaluate([form.jacobian[i][j]], dict(env), scope)[0]
        for place in np.ndindex(env[leaf].shape):
            wanted = derivative(state.next, leaf, place, env, scope)[place]
            np.testing.assert_allclose(np.broadcast_to(found, env[leaf].shape)[place], wanted, rtol=0, atol=1e-8)
    assert form.meeting == 1


def derivative(value: Value, leaf: Value, place: tuple[int, ...], env: dict[Value, Array], scope: Scope) -> Array:
    """Of a value by one element of a leaf, by central differences."""
    ends = []
    for step in (TINY, -TINY):
        moved = env[leaf].copy()
        moved[place] += step
        ends.append(evaluate([value], {**env, leaf: moved}, scope)[0])
    return np.asarray((ends[0] - ends[1]) / (2 * TINY))


def test_lanes() -> None:
    found = {}
    for name, case in CASES.items():
        cell, sizes = bound(case)
        found[name] = newton_form(cell, nonlinear(cell), sizes).lanes
    assert found == {
        "paragru": ((0,),),
        "paralstm": ((0,), (0,)),
        "small_heads": ((0,), (0,)),
        "columns": ((1,), (0,)),
        "second": ((0,), (0,)),
        "rnn": ((),),
        "lags": ((0,),),
        "reversed": ((),),
    }


def test_bounds() -> None:
    """c and g are convex combinations and a tanh: in [-1, 1]; h is a gate times tanh(c)."""
    cell, sizes = bound(Case(PARALSTM))
    c, h = newton_form(cell, nonlinear(cell), sizes).bounds
    assert c is not None
    assert h is not None
    assert (c.low, c.high) == (-1, 1)
    assert (h.low, h.high) == (-np.tanh(1), np.tanh(1))


def refusal(source: str) -> tuple[str, int | None]:
    """The reason, and the line that it speaks of."""
    cell, sizes = bound(Case(source)) if not source.startswith("std/") else bound(PROGRAMS[source.partition("/")[2]])
    with pytest.raises(NotLegal) as caught:
        newton_form(cell, nonlinear(cell), sizes)
    spans = cell.spans.get(caught.value.value, ()) if caught.value.value is not None else ()
    return caught.value.reason, spans[0].line if spans else None


def recurrence(step: str, kind: str = "") -> str:
    return f"""
cell one(D=9):
    input x: [D]
    param W: [D, D]
    state h: [D]{kind} = 0
    h' = {step}
    output h'
"""


@pytest.mark.parametrize(
    ("source", "reason", "line"),
    [
        ("std/mingru", "`h'` is affine over (+, ×) in `h`: there is nothing to iterate", 11),
        (recurrence("max(h - 1, x)"), "`h'` is affine over (max, +) in `h`: there is nothing to iterate", 6),
        (recurrence("tanh(W @ h + x)"), "the Jacobian of `h` is dense: 9 numbers in all meet, and 8 are the most", 6),
        ("std/lru", "`h` holds complex values, and Newton's method needs real ones", 14),
        (recurrence("(h * h + 1) % 5", " int"), "`h` holds int values, and Newton's method needs real ones", 6),
        (
            recurrence("tanh(floor(h) + x)"),
            "`floor` of what depends on `h` jumps, and no derivative shows it",
            6,
        ),
        (
            recurrence("where(h * h > x, h * h, x)"),
            "`gt` of what depends on `h` jumps, and no derivative shows it",
            6,
        ),
    ],
)
def test_refusals_name_the_fact_and_the_line(source: str, reason: str, line: int) -> None:
    assert refusal(source) == (reason, line)


def test_a_diagonal_that_is_not_at_hand() -> None:
    cell, sizes = bound(PROGRAMS["gru2014"])
    with pytest.raises(NotLegal, match="costs as much as all of it") as caught:
        newton_form(cell, nonlinear(cell), sizes, quasi=True)
    assert caught.value.value is not None
    assert cell.spans[caught.value.value][0].text == "U @ (r * h)"


def test_a_comparison_of_inputs_is_no_obstacle() -> None:
    cell, sizes = bound(Case(recurrence("where(x > 0, tanh(h), stopgrad(h) * h)")))
    assert newton_form(cell, nonlinear(cell), sizes).is_diagonal


def test_the_schedule_is_refused_with_what_is_legal() -> None:
    message = r"`h'` is affine over .* in `h`: there is nothing to iterate .*`newton` cannot run it"
    with pytest.raises(Refusal, match=message):
        lsrl.compile(lsrl.load("std/mingru"), target="jax", sizes={"D": 3, "H": 4}, schedule="newton")


def test_operands_are_what_needs_no_state() -> None:
    """The product with the input and the parameters: an iteration computes no product."""
    cell, sizes = bound(CASES["paragru"])
    operands = newton_form(cell, nonlinear(cell), sizes).operands
    assert {v.op for v in operands} == {"einsum", "param"}
    assert ops.leaf("param", "Bz", (cell.params[0].shape), cell.params[0].kind) not in operands
