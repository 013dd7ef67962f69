"""What is found out about known recurrences, as their papers describe them."""

from __future__ import annotations

import pytest

import lsrl
from lsrl.ir.cell import Cell
from lsrl.ir.facts.recurrence import Algebra, Recurrence, recurrences
from lsrl.ir.facts.relations import Coupling
from lsrl.ir.facts.sentences import RecurrenceFacts, facts
from lsrl.ir.facts.structure import Along, Structure, Transition
from support.elaborated import cell_of_text
from support.programs import program
from support.recurrences import check_recurrences


def library(name: str) -> Cell:
    return program(f"std/{name}").graph


def only(cell: Cell) -> Recurrence:
    (found,) = recurrences(cell)
    return found


def transition(found: Recurrence) -> Structure:
    (structure,) = found.structures.values()
    return structure


def axes(found: Recurrence) -> list[tuple[Along, Along, int]]:
    return [(axis.along, axis.base, axis.rank) for axis in transition(found).axes if not axis.head]


def said(cell: Cell) -> RecurrenceFacts:
    (found,) = facts(cell)
    return found


SAME = (Along.IDENTITY, Along.IDENTITY, 0)
DIAGONAL = (Along.DIAGONAL, Along.DIAGONAL, 0)


@pytest.mark.parametrize(
    ("name", "kind", "of_axes", "is_complex", "invariant"),
    [
        ("mingru", Transition.DIAGONAL, [DIAGONAL], False, False),
        ("minlstm", Transition.DIAGONAL, [DIAGONAL], False, False),
        ("rg_lru", Transition.DIAGONAL, [DIAGONAL], False, False),
        ("lru", Transition.DIAGONAL, [DIAGONAL], True, True),
        ("selective_ssm", Transition.DIAGONAL, [DIAGONAL, DIAGONAL], False, False),
        ("retention", Transition.SCALAR, [SAME, SAME], False, True),
        ("gla", Transition.DIAGONAL, [DIAGONAL, SAME], False, False),
        ("gated_delta", Transition.LOW_RANK, [(Along.LOW_RANK, Along.IDENTITY, 1), SAME], False, False),
    ],
)
def test_affine_library(
    name: str, kind: Transition, of_axes: list[tuple[Along, Along, int]], is_complex: bool, invariant: bool
) -> None:
    found = only(library(name))
    assert found.algebra is Algebra.AFFINE
    assert transition(found).kind is kind
    assert axes(found) == of_axes
    assert (transition(found).complex, found.time_invariant) == (is_complex, invariant)


@pytest.mark.parametrize(
    ("name", "coupling", "broken"),
    [
        ("rnn", Coupling.DENSE, {"tanh"}),
        ("gru", Coupling.DENSE, {"sigmoid"}),
        ("gru2014", Coupling.DENSE, {"sigmoid"}),
        ("lstm", Coupling.DENSE, {"sigmoid", "tanh"}),
        ("slstm", Coupling.PER_HEAD, {"sigmoid", "logsigmoid", "eq", "tanh"}),
    ],
)
def test_nonlinear_library(name: str, coupling: Coupling, broken: set[str]) -> None:
    found = only(library(name))
    assert found.algebra is Algebra.NONLINEAR
    assert found.jacobian.kind is coupling
    assert {value.op for value in found.offenders} == broken
    assert not found.structures


def test_mlstm_is_a_running_maximum_and_two_affine_memories() -> None:
    found = facts(library("mlstm"))
    by_state = {part.states: part for part in found}
    assert by_state[("m",)].recurrence.algebra is Algebra.MAX_PLUS
    for memory in (("C",), ("n",)):
        part = by_state[memory]
        assert part.recurrence.algebra is Algebra.AFFINE
        assert transition(part.recurrence).kind is Transition.SCALAR
        assert [str(bounds) for bounds in part.recurrence.coefficients.values()] == ["[0, 1]"]
        assert part.fact("stabiliser").value == "m"


def test_averages_with_a_running_sum_are_bounded() -> None:
    by_state = {part.states: part for part in facts(library("lightnet"))}
    assert by_state[("z",)].recurrence.algebra is Algebra.LOG_SUM_EXP
    (bounds,) = by_state[("S",)].recurrence.coefficients.values()
    assert str(bounds) == "[0, 1]"
    assert "logarithm of a running sum" in by_state[("S",)].fact("stabiliser").sentence


def test_lines_of_other_files_are_told_apart() -> None:
    (part,) = facts(library("rwkv7"))
    sentences = [each.sentence for each in part.facts if each.name == "transition"]
    assert any("(lines 14, 16, std/prelude.lsrl:" in sentence for sentence in sentences), sentences


def matrix(update: str, more: str = "") -> Cell:
    text = f"""
cell memory(K=4, V=3):
    input k, a, c, l: [K], v, d: [V], b, g: [], r: [] bool
    {more or "param A: [K, K]"}
    state S: [K, V] = 0
    {update}
    output S'
"""
    cell = cell_of_text(text)
    check_recurrences(cell, {"K": 4, "V": 3})
    return cell


RANK_ONE = (Along.LOW_RANK, Along.IDENTITY, 1)


@pytest.mark.parametrize(
    ("update", "kind", "of_axes"),
    [
        ("S' = S + outer(k, v)", Transition.IDENTITY, [SAME, SAME]),
        ("S' = outer(k, v) - S", Transition.SCALAR, [SAME, SAME]),
        ("S' = diag(a) @ S @ diag(d) + outer(k, v)", Transition.SEPARABLE, [DIAGONAL, DIAGONAL]),
        ("S' = outer(a, d) * S + outer(k, v)", Transition.SEPARABLE, [DIAGONAL, DIAGONAL]),
        ("S' = exp(outer(a, d)) * S + outer(k, v)", Transition.DIAGONAL, [DIAGONAL, DIAGONAL]),
        ("S' = S - b * outer(k, k @ S)", Transition.LOW_RANK, [RANK_ONE, SAME]),
        ("S' = (eye(K) - b * outer(k, k)) @ S", Transition.LOW_RANK, [RANK_ONE, SAME]),
        ("S' = (diag(a) - outer(c, l)) @ S", Transition.LOW_RANK, [(Along.LOW_RANK, Along.DIAGONAL, 1), SAME]),
        ("S' = (b * (eye(K) - g * outer(k, k))) @ S", Transition.LOW_RANK, [RANK_ONE, SAME]),
        (
            "S' = (eye(K) - outer(k, k)) @ (eye(K) - outer(c, c)) @ diag(a) @ S",
            Transition.LOW_RANK,
            [(Along.LOW_RANK, Along.DIAGONAL, 2), SAME],
        ),
        ("S' = (diag(a) - A) @ S", Transition.DENSE, [(Along.DENSE, Along.DIAGONAL, 0), SAME]),
        ("S' = S - outer(S @ v, d)", Transition.LOW_RANK, [SAME, RANK_ONE]),
        ("S' = diag(a) @ S + outer(c, l @ S)", Transition.LOW_RANK, [(Along.LOW_RANK, Along.DIAGONAL, 1), SAME]),
        ("S' = S - outer(k, k @ S) - outer(k, c @ S)", Transition.LOW_RANK, [RANK_ONE, SAME]),
        (
            "S' = S - outer(k, k @ S) - outer(c, c @ S)",
            Transition.LOW_RANK,
            [(Along.LOW_RANK, Along.IDENTITY, 2), SAME],
        ),
        ("S' = outer(k, k @ S) + outer(k, v)", Transition.LOW_RANK, [(Along.LOW_RANK, Along.NONE, 1), SAME]),
        ("S' = A @ S + outer(k, v)", Transition.DENSE, [(Along.DENSE, Along.NONE, 0), SAME]),
        ("S' = where(r, 0, S) + outer(k, v)", Transition.SCALAR, [SAME, SAME]),
    ],
)
def test_matrix_memories(update: str, kind: Transition, of_axes: list[tuple[Along, Along, int]]) -> None:
    found = only(matrix(update))
    assert found.algebra is Algebra.AFFINE
    assert transition(found).kind is kind
    assert [(axis.along, axis.base, axis.rank) for axis in transition(found).axes] == of_axes


def test_erasing_from_the_right() -> None:
    """Values first: the key side is the right one, with a decay of its own and another vector to erase with."""
    cell = cell_of_text("""
cell invented(K=4, V=3):
    input a, c, k: [K], v: [V], b: []
    state S: [V, K] = 0
    S' = S @ diag(a) - b * outer(S @ k, c * k) + outer(v, k)
    output S'
""")
    check_recurrences(cell, {"K": 4, "V": 3})
    assert axes(only(cell)) == [SAME, (Along.LOW_RANK, Along.DIAGONAL, 1)]
    assert "diagonal + rank 1 along K" in said(cell).fact("transition").reason


def test_product_of_householders() -> None:
    """DeltaProduct: two erasures, the second of what the first left."""
    found = only(matrix("y = S - b * outer(k, k @ S)\n    S' = g * (y - b * outer(c, c @ y)) + outer(k, v)"))
    whole = transition(found)
    assert whole.kind is Transition.PRODUCT
    assert [factor.kind for factor in whole.factors].count(Transition.LOW_RANK) == 2
    assert [axis.rank for axis in whole.axes] == [2, 0]


def test_many_householders_are_not_multiplied_out() -> None:
    lines = "\n    ".join(f"y{i + 1} = y{i} - b * outer(k + {i}, (k + {i}) @ y{i})" for i in range(12))
    found = only(matrix(f"y0 = g * S\n    {lines}\n    S' = y12 + outer(k, v)"))
    assert found.forms == {}
    assert transition(found).kind is Transition.PRODUCT
    assert transition(found).axes[0].rank == 12


@pytest.mark.parametrize("line", ["y = y * y", "y = y + y", "y = b * y", "y = y * exp(y)", "y = y @ eye(K) + y"])
def test_deep_coefficients_take_no_time(line: str) -> None:
    """What is shared is looked at once, and depth is no limit."""
    text = "\n    ".join(["y = full([K, K], b)", *[line] * 1500])
    head = "cell deep(K=4):\n    input x: [K], b: []\n    state h: [K] = 0"
    cell = cell_of_text(f"{head}\n    {text}\n    h' = y @ h + x\n    output h'\n")
    assert only(cell).algebra is Algebra.AFFINE


def test_block_diagonal() -> None:
    cell = cell_of_text("""
cell blocks(N=2, P=3) heads N:
    input x: [P]
    param A: [P, P]
    state h: [P] = 0
    h' = A @ h + x
    output h'
""")
    check_recurrences(cell, {"N": 2, "P": 3})
    found = only(cell)
    assert found.jacobian.kind is Coupling.PER_HEAD
    assert [(axis.head, axis.along) for axis in transition(found).axes] == [
        (True, Along.DIAGONAL),
        (False, Along.DENSE),
    ]
    assert found.time_invariant


CONV_LSTM = """
cell conv_lstm(C=2, Y=4, X=5):
    input x: [4*C, Y, X]
    param R: [4*C, C, 3, 3]
    state h, c: [C, Y, X] = 0
    i, f, g, o = split(x + conv(h, R), 4)
    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(c')
    output h'
"""


def test_stencils() -> None:
    sizes = {"C": 2, "Y": 4, "X": 5}
    cell = cell_of_text(CONV_LSTM)
    check_recurrences(cell, sizes)
    assert only(cell).jacobian.kind is Coupling.STENCIL
    linear = cell_of_text(CONV_LSTM.replace("h' = sigmoid(o) * tanh(c')", "h' = conv(h, R)[0:C] + x[0:C]"))
    found = next(part for part in check_recurrences(linear, sizes) if part.states[0].name == "h")
    assert (found.algebra, transition(found).kind) == (Algebra.AFFINE, Transition.STENCIL)


def test_what_an_operand_hides_still_varies() -> None:
    """A reshape is no einsum: coefficients before it are not seen apart, yet they differ from step to step."""
    text = """
cell folded(N=2, P=3):
    input x: [N*P], A: [N, P, P]
    state h: [N*P] = 0
    h' = reshape(einsum("n i j, n j -> n i", A, reshape(h, [N, P])), [N*P]) + x
    output h'
"""
    (varying,) = check_recurrences(cell_of_text(text), {"N": 2, "P": 3})
    assert (varying.algebra, varying.time_invariant) == (Algebra.AFFINE, False)
    learned = text.replace("x: [N*P], A: [N, P, P]", "x: [N*P]\n    param A: [N, P, P]")
    assert only(cell_of_text(learned)).time_invariant


def test_rotation() -> None:
    """A plane rotated by an angle is one complex number, or a block for two states."""
    cell = cell_of_text("""
cell rotation(H=3):
    input x: [H]
    param w: [H]
    state u, v: [H] = 0
    u' = cos(w) * u - sin(w) * v + x
    v' = sin(w) * u + cos(w) * v
    output u'
""")
    check_recurrences(cell, {"H": 3})
    found = only(cell)
    assert (found.algebra, found.jacobian.kind) == (Algebra.AFFINE, Coupling.PER_UNIT)
    assert {each.kind for each in found.structures.values()} == {Transition.DIAGONAL}
    assert found.time_invariant


def test_counter() -> None:
    (found,) = recurrences(cell_of_text("cell count():\n    state n: [] int = 0\n    n' = n + 1\n    output n'\n"))
    assert (found.algebra, transition(found).kind) == (Algebra.AFFINE, Transition.IDENTITY)
    rotating = lsrl.load("std/counters", "modulo_counter")
    moved = only(rotating.graph)
    assert transition(moved).kind is Transition.MOVES
    check_recurrences(rotating.graph, {"M": 5})


def test_slow_units_come_apart() -> None:
    """SCRN (Mikolov et al., 2015): slow units are affine and need nothing of the fast ones."""
    cell = cell_of_text("""
cell scrn(D=3, S=2, H=4):
    input x: [D]
    param B: [S, D]
    param A: [H, D]
    param P: [H, S]
    param R: [H, H]
    state s: [S] = 0
    state h: [H] = 0
    s' = 0.95 * s + 0.05 * (B @ x)
    h' = sigmoid(P @ s' + A @ x + R @ h)
    output h'
""")
    slow, fast = check_recurrences(cell, {"D": 3, "S": 2, "H": 4})
    assert (slow.algebra, transition(slow).kind) == (Algebra.AFFINE, Transition.SCALAR)
    assert (fast.algebra, fast.jacobian.kind) == (Algebra.NONLINEAR, Coupling.DENSE)
    assert str(fast.bounds["h"]) == "[0, 1]"


@pytest.mark.parametrize(
    ("update", "algebra"),
    [
        ("max(h + x, y)", Algebra.MAX_PLUS),
        ("max(max(h, x) + y, h - 1)", Algebra.MAX_PLUS),
        ("min(h - x, y)", Algebra.MIN_PLUS),
        ("relu(h + x)", Algebra.MAX_PLUS),
        ("logaddexp(h + x, y)", Algebra.LOG_SUM_EXP),
        ("where(x > 0, y, max(h, x))", Algebra.MAX_PLUS),
        ("max(2 * h, y)", Algebra.NONLINEAR),
        ("max(min(h, x), y)", Algebra.NONLINEAR),
        ("h * h + x", Algebra.NONLINEAR),
    ],
)
def test_other_algebras(update: str, algebra: Algebra) -> None:
    cell = cell_of_text(f"cell f(H=3):\n    input x, y: [H]\n    state h: [H] = 0\n    h' = {update}\n    output h'\n")
    (found,) = check_recurrences(cell, {"H": 3})
    assert found.algebra is algebra


def test_real_parts_of_complex_states_are_not_affine() -> None:
    cell = cell_of_text(
        "cell f(H=3):\n    input x: [H]\n    state h: [H] complex = 0\n    h' = conj(h) + x\n    output h'\n"
    )
    (found,) = recurrences(cell)
    assert [value.op for value in found.offenders] == ["conj"]


def test_sentences_name_values_and_lines() -> None:
    assert str(said(library("mingru"))).splitlines() == [
        "h:",
        "  `h'` is affine in `h` (line 11).",
        "  the transition of `h` is diagonal, `1 - z` in [0, 1] (line 11).",
        "  the transition varies with the position (line 11).",
    ]
    assert str(said(library("rnn"))).splitlines() == [
        "h:",
        "  `h'` is not affine in `h`: `tanh` (line 10).",
        "  the Jacobian is dense (line 10).",
        "  `h` stays in [-1, 1] when it starts there (line 10).",
    ]


def test_comparisons_inside_of_arithmetic_have_brackets() -> None:
    cell = cell_of_text(
        "cell f(H=3):\n    input x: [H], p: [] int\n    state h: [H] = 0\n    h' = where(p == 0, x, h)\n    output h'\n"
    )
    assert "`1 - (p == 0)` in [0, 1]" in str(said(cell))


def test_facts_as_data() -> None:
    data = said(library("retention")).as_data()
    assert data["states"] == ["S"]
    assert [fact["name"] for fact in data["facts"]] == ["algebra", "transition", "time"]  # type: ignore[attr-defined]
    assert said(library("retention")).fact("time").value == "invariant"
