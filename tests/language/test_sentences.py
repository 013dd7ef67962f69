"""Values as sentences: what `heads` added is taken back, in products as well."""

from __future__ import annotations

import pytest

import lsrl
from lsrl.ir.value import postorder
from lsrl.sentences import Sentences

HEADED = """
cell f(N, K, V) heads N:
    input a, b: [K, V], x: [V], M: [K, V] shared
    output same = einsum("k v, k v -> k", a, b), seen = a @ x, common = M @ x, both = einsum("k v, j v -> k j", M, a)
"""
PLAIN = """
cell f(K, V):
    input a, b: [K, V], x: [V]
    output same = einsum("k v, k v -> k", a, b), seen = a @ x
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            HEADED,
            {
                "same": 'einsum("ab,ab->a", a, b)',
                "seen": "a @ x",
                "common": "M @ x",
                "both": 'einsum("ab,cb->ac", M, a)',
            },
        ),
        (PLAIN, {"same": 'einsum("ab,ab->a", a, b)', "seen": "a @ x"}),
    ],
)
def test_products_are_those_of_one_head(text: str, told: dict[str, str]) -> None:
    cell = lsrl.parse(text).graph
    sentences = Sentences(cell)
    found = {output.name: sentences.definition(output.value) for output in cell.outputs}
    assert {name: found[name] for name in told} == told


def test_products_with_what_all_heads_share() -> None:
    """Each operand has as many letters as the program gave it axes."""
    cell = lsrl.load("std/log_linear").graph
    sentences = Sentences(cell)
    products = [value for value in postorder(cell.all_roots()) if value.op == "einsum"]
    found = [sentences.definition(value) for value in products]
    assert 'einsum("a,b,c->abc", float(0 == iota(L)), k, v)' in found
    assert 'einsum("ab,bcd->acd", M, S)' in found
    assert any(told.startswith('einsum("a,b,abc->c", ') for told in found)
