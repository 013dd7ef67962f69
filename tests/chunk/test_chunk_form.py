"""Normal forms: what each recurrence is made of, and why others have none."""

from __future__ import annotations

import pytest

import lsrl
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.chunk_form import chunk_form
from lsrl.ir.schedules.chunk_form_parts import ChunkForm
from lsrl.ir.schedules.chunk_size import balanced_size
from lsrl.ir.schedules.how import Chunk, HowError, NotLegal
from support.chunk_programs import CHUNKED, REFUSED

# By name: readers, keys, the rows of the state, whether rows, columns, or both decay, sides that reads sum over.
MADE_OF = {
    "simple_gla": (0, 1, "K", "rows", ["rows"]),
    "rwkv6": (0, 1, "K", "rows", ["rows"]),
    "rwkv7": (1, 2, "K", "rows", ["rows"]),
    "of_matrices": (2, 2, "K", "rows", ["rows"]),
    "delta_rule": (1, 1, "K", "", ["rows"]),
    "kda": (1, 1, "K", "rows", ["rows"]),
    "gdn2": (1, 1, "K", "rows", ["rows"]),
    "comba": (1, 1, "K", "rows", ["rows"]),
    "dplr": (1, 2, "K", "rows", ["rows"]),
    "delta_product": (3, 3, "K", "rows", ["rows"]),
    "oja": (1, 1, "V", "rows", ["columns"]),
    "both_sides": (0, 1, "K", "rows columns", ["rows", "columns"]),
    "invention": (1, 2, "K", "rows", ["rows", "rows"]),
    "backwards": (2, 2, "K", "rows", ["rows", "rows"]),
}


def formed(text: str) -> ChunkForm:
    cell = lsrl.parse(text).graph
    (part,) = components(cell)
    return chunk_form(cell, part)


@pytest.mark.parametrize("name", MADE_OF)
def test_parts(name: str) -> None:
    form = formed(CHUNKED[name])
    step, terms = form.step, [term for read in form.reads for term in read.terms]
    decays = [side for side, value in (("rows", step.decay_rows), ("columns", step.decay_columns)) if value]
    found = (len(step.readers), len(step.keys), str(form.rows), " ".join(decays), [str(term.side) for term in terms])
    assert found == MADE_OF[name]


def test_vectors_of_each_head_have_no_columns() -> None:
    cell = lsrl.load("std/mlstm").graph
    by_name = {part.states[0].name: part for part in components(cell)}
    memory, normaliser = chunk_form(cell, by_name["C"]), chunk_form(cell, by_name["n"])
    assert (str(memory.columns), normaliser.columns) == ("V", None)
    assert memory.step.keys == normaliser.step.keys  # both are written by k


def test_what_is_read_may_be_given_another_shape() -> None:
    text = "cell merged(D, N, K, V):\n    input q, k: [N, K], v: [N, V]\n    param W: [D, N*V]\n"
    text += '    state S: [N, K, V] = 0\n    S\' = S + einsum("n k, n v -> n k v", k, v)\n'
    text += '    o = einsum("n k, n k v -> n v", q, S\')\n    output y = W @ reshape(o, [N * V])\n'
    (read,) = formed(text).reads
    assert [str(term.side) for term in read.terms] == ["rows"]


def test_real_keys_and_values_are_written_to_a_complex_state() -> None:
    text = "cell turned(K, V):\n    input q, k, angle: [K], v: [V], b: []\n    state S: [K, V] complex = 0\n"
    text += "    S' = diag(cis(angle)) @ S + b * outer(k, v)\n    output o = re(q @ S')\n"
    step = formed(text).step
    assert [(key.rank, value.rank) for key, value in zip(step.keys, step.values)] == [(1, 1)]


def test_equal_readers_and_equal_keys_are_one() -> None:
    text = "cell twice(K, V):\n    input k: [K], v: [V], a, b: []\n    state S: [K, V] = 0\n"
    text += "    S' = S - a * outer(k, k @ S) - b * outer(k, k @ S - v)\n    output o = k @ S'\n"
    step = formed(text).step
    assert (len(step.readers), len(step.keys)) == (1, 1)


@pytest.mark.parametrize("name", REFUSED)
def test_reasons(name: str) -> None:
    body, reason = REFUSED[name]
    declared = "input k: [K], v: [V], a: []\n    param M: [K, K]\n    state S: [K, V] = 0\n"
    with pytest.raises(NotLegal) as refusal:
        formed(f"cell refused(K, V):\n    {declared}    {body}\n")
    assert reason in refusal.value.reason
    assert refusal.value.value is not None


def test_a_chunk_has_a_position() -> None:
    with pytest.raises(HowError, match=r"chunk\(0\)"):
        Chunk(0)


@pytest.mark.parametrize(
    ("name", "width", "size"),
    # K = V: without readers 2 K^2 = 2 C K, with one reader and one key 4 K^2 = 6 C K, and nobody wants chunks of 4.
    [("simple_gla", 128, 128), ("simple_gla", 64, 64), ("kda", 128, 64), ("kda", 64, 32), ("kda", 4, 16)],
)
def test_sizes_of_chunks_balance_work(name: str, width: int, size: int) -> None:
    assert balanced_size(formed(CHUNKED[name]), {"N": 2, "K": width, "V": width}) == size
