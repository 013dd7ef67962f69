"""Automata and Lag systems given by tables, against running the tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsrl
from lsrl.automata import AutomatonError, lag_system, program
from lsrl.backends.ranges import ranges_of
from lsrl.program import Program

Table = Sequence[Sequence[int]]


def run(machine: Program, symbols: np.ndarray, dtype: str = "float64") -> dict[str, np.ndarray]:
    found = lsrl.compile(machine, target="reference", dtype=dtype)({}, {"symbol": symbols}).outputs
    return {name: np.asarray(array, float) for name, array in found.items()}


def states_of(table: Table, start: int, symbols: Sequence[int]) -> list[int]:
    visited, state = [], start
    for symbol in symbols:
        state = table[state][symbol]
        visited.append(state)
    return visited


@st.composite
def automata(draw: st.DrawFn) -> tuple[list[list[int]], list[int], int]:
    states, symbols = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    any_state = st.integers(0, states - 1)
    row = st.lists(any_state, min_size=symbols, max_size=symbols)
    table = draw(st.lists(row, min_size=states, max_size=states))
    return table, draw(st.lists(any_state, unique=True)), draw(any_state)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(automata(), st.integers(0, 99))
def test_random_automata(machine: tuple[list[list[int]], list[int], int], seed: int) -> None:
    table, accepting, start = machine
    symbols = np.random.default_rng(seed).integers(0, len(table[0]), (8, 40))
    found = run(program(table, accepting, start), symbols)
    visited = [states_of(table, start, row) for row in symbols.tolist()]
    np.testing.assert_array_equal(found["at"], visited)
    np.testing.assert_array_equal(found["accepts"], np.isin(visited, accepting))


# (ab|ba)* over a = 0, b = 1: between words, after the a of ab, after the b of ba, and lost.
WORDS = [[1, 2], [3, 0], [0, 3], [3, 3]]


@pytest.mark.parametrize("dtype", ["float64", "float16", "exact"])
def test_a_regular_language(dtype: str) -> None:
    every = np.array(list(itertools.product((0, 1), repeat=8)))[:: 16 if dtype == "exact" else 1]
    found = run(program(WORDS, accepting=[0]), every, dtype)["accepts"]
    for row, accepted in zip(every, found):
        text = "".join("ab"[symbol] for symbol in row)
        assert [bool(x) for x in accepted] == [bool(re.fullmatch("(ab|ba)*", text[: t + 1])) for t in range(8)]


def test_exactly_one_transition_is_taken_and_thresholds_have_room() -> None:
    """Facts are whole numbers: a transition is taken from 2 on and not up to 1."""
    machine = program(WORDS, accepting=[0])
    found = {machine.graph.names[v]: r for v, r in ranges_of(machine.graph).items() if v in machine.graph.names}
    assert found["taken"].boolean
    assert found["facts"].integral
    assert found["facts"].nonnegative


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([],), "a row for each state"),
        (([[0, 1], [1]],), "the same number of symbols"),
        (([[0, 2], [1, 0]],), "there is no state 2: the table has the states 0 to 1"),
        (([[0]], [1]), "there is no state 1"),
        (([[0]], [], -1), "there is no state -1"),
        (([[0] * 6000],), "6,000 entries are more"),
    ],
)
def test_tables_that_are_none(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(AutomatonError, match=re.escape(said)):
        program(*arguments)  # type: ignore[arg-type]


Rules = Mapping[tuple[int, ...], Sequence[int]]


def lag(rules: Rules, queue: Sequence[int], capacity: int, steps: int) -> list[list[int]]:
    """The queues after each step, by lists."""
    read, found, held = len(next(iter(rules))), [], list(queue)
    for _ in range(steps):
        word = rules[tuple(held[:read])] if len(held) >= read else None
        if word is not None and len(held) - 1 + len(word) <= capacity:
            held = [*held[1:], *word]
        found.append(held)
    return found


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_lag_systems(data: st.DataObject) -> None:
    symbols, read, capacity = data.draw(st.integers(2, 3)), data.draw(st.integers(1, 2)), data.draw(st.integers(3, 9))
    any_symbol = st.integers(0, symbols - 1)
    every = itertools.product(range(symbols), repeat=read)
    rules = {word: data.draw(st.lists(any_symbol, max_size=3)) for word in every}
    rules[(symbols - 1,) * read] = [symbols - 1]
    queue = data.draw(st.lists(any_symbol, max_size=capacity))
    fn = lsrl.compile(lag_system(rules, queue, capacity), target="reference")
    found = fn({}, {}, batch=1, length=15).outputs
    wanted = lag(rules, queue, capacity, 15)
    np.testing.assert_array_equal(found["count"][0], [len(held) for held in wanted])
    np.testing.assert_array_equal(found["queue"][0], [held + [0] * (capacity - len(held)) for held in wanted])


def test_lag_systems_that_are_none() -> None:
    with pytest.raises(AutomatonError, match="there is none for \\(1, 0\\)"):
        lag_system({(0, 0): [1], (0, 1): [0], (1, 1): []}, [0], 4)
    with pytest.raises(AutomatonError, match="a queue of 2 does not hold the 3 symbols"):
        lag_system({(0,): [1], (1,): []}, [0, 1, 1], 2)
