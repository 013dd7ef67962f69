"""The chunk kernels as machine code, on a machine without a GPU: they compile, and fit with nothing spilled."""

from __future__ import annotations

import pytest

from lsrl.backends.identifiers import reached
from lsrl.backends.machine_code import LIMITS, resources
from lsrl.backends.torch_place import TYPES
from lsrl.backends.torch_prelude import functions, imports

C, K = 64, 128
SEQUENCES = (
    "x",
    "y",
    "reader",
    "key",
    "value",
    "mix",
    "decay",
    "query",
    "inverses",
    "whole",
    "start",
    "states",
    "last",
)
POINTERS = dict.fromkeys(SEQUENCES, "*fp32")
KERNELS = f"""
POINTERS = {POINTERS!r}
CHUNK = {{"C": {C}, "REVERSE": False, "num_warps": 4}}
STATE = {{"width": {K}, "columns": {K}}}
DOTS = {{"DOT": tl.bfloat16}}


def described(kernel, constants, **others):
    names = kernel.arg_names
    types = {{name: (POINTERS | others).get(name, "i32") for name in names if name not in constants}}
    return kernel, types, constants


def kernels(decay):
    row = CHUNK | DOTS | {{"DECAY": decay, "width": {K}}}
    one = row | STATE
    kept = dict.fromkeys(("own", "reading", "writing", "given"), "*bf16")
    inside = {{"products": "*fp32", "out": "*fp32"}}
    yield described(chunk_product_kernel, row | {{"BLOCK": 16 if decay == 2 else 64, "EXCLUSIVE": True}}, out="*fp32")
    yield described(chunk_inverse_kernel, CHUNK | {{"R": 1, "J": 1}}, **inside)
    yield described(chunk_solve_kernel, one | {{"R": 1, "J": 1, "BLOCK": 32}}, products="*fp32", **kept)
    read = {{"J": 1, "BLOCK_K": 32, "BLOCK_V": 64, "EXCLUSIVE": False}}
    yield described(chunk_read_kernel, one | read, products="*bf16", out="*fp32", **kept)
    carried = DOTS | STATE | {{"READS": True, "WRITES": True, "ADDS": False, "REVERSE": False, "num_warps": 4}}
    blocks = {{"BLOCK_M": 64, "BLOCK_K": {K}, "BLOCK_V": 16}}
    yield described(chunk_carry_kernel, carried | blocks, added="*fp32", **kept)


KERNELS = (*kernels(1), *kernels(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", LIMITS)
def test_fit(target: str) -> None:
    """With a decay in each lane, and one for each row; states of 128 rows, operands of bfloat16."""
    known = functions(TYPES["bfloat16"])
    parts = reached(KERNELS, known)
    text = "\n\n\n".join([imports("\n".join([*parts, KERNELS])), *parts, KERNELS])
    found = resources(text, target)
    assert len(found) == 10
    assert [row for row in found if not row.fits] == []
