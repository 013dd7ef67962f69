"""What is found out about recurrences that solve systems of linear equations."""

from __future__ import annotations

from lsrl.ir.facts.recurrence import Algebra
from lsrl.ir.facts.structure import Transition
from support.elaborated import cell_of_text
from support.recurrences import check_recurrences

IMPLICIT = """
cell implicit(N, K) heads N:
    input x: [K], dt: []
    param A: [K, K]
    state h: [K] = 0
    h' = solve(eye(K) - dt * A, h + dt * x)
    output h'
"""
COLUMNS = """
cell columns(K, V):
    input k: [K], v: [V]
    state S: [K, V] = 0
    S' = solve(eye(K) + outer(k, k), S) + outer(k, v)
    output S'
"""
NONLINEAR = """
cell nonlinear(K):
    input x: [K]
    state h: [K] = 0
    h' = solve(eye(K) + outer(h, h), x)
    output h'
"""


def test_a_solution_is_linear_in_the_right_side() -> None:
    (found,) = check_recurrences(cell_of_text(IMPLICIT), {"N": 2, "K": 3})
    assert found.algebra is Algebra.AFFINE
    (structure,) = found.structures.values()
    assert structure.kind is Transition.DENSE
    assert structure.axes[0].head


def test_columns_of_the_right_side_never_meet() -> None:
    (found,) = check_recurrences(cell_of_text(COLUMNS), {"K": 3, "V": 4})
    (structure,) = found.structures.values()
    assert [str(axis.along) for axis in structure.axes] == ["dense", "identity"]


def test_a_solution_is_not_linear_in_the_matrix() -> None:
    (found,) = check_recurrences(cell_of_text(NONLINEAR), {"K": 3})
    assert found.algebra is Algebra.NONLINEAR
