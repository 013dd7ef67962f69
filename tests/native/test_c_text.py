"""What stands before C text: what it uses, in an order that a compiler can read, and nothing else."""

import re
from pathlib import Path

import pytest

from lsrl.backends.native import c_text
from lsrl.backends.native.c_text import needed
from support.process import ROOT

FILES = sorted((ROOT / "backends" / "native" / "c").glob("*.c"))
DEFINED = re.compile(r"^(?:INLINE|CALLED|static) .*?(\w+)\(", re.MULTILINE)


def defined(text: str) -> list[str]:
    return DEFINED.findall(text)


@pytest.mark.parametrize("real", ["float", "double"])
def test_what_a_text_uses(real: str) -> None:
    """And what that uses in turn, before it; a comment uses nothing."""
    text = needed("real f(real x) { return abs_(softplus_(x)); } // tanh_", real)
    assert defined(text)[-1] == "softplus_"
    expected = "abs_ relu_ to_word from_word two_to exp_series exp_reduced exp_scaled exp_ log_series log_sum"
    assert {*defined(text)} == {*expected.split(), "log1p_unit", "softplus_"}
    assert f"typedef {real} real;" in text
    assert len(re.findall("typedef", text)) == 2  # `real`, and `word` for its bits


def test_nothing() -> None:
    lines = needed("int f(int x) { return x; }", "float").split()
    assert {*lines[::2]} == {"#include"}


def test_macros_are_followed() -> None:
    text = needed("long f(void) { return LANES; }", "float")
    assert defined(text) == []
    assert re.findall(r"# *define (\w+)", text).count("VECTOR_BYTES") == 4


@pytest.mark.parametrize(("stored", "type_"), [("", "float"), ("bfloat16", "uint16_t"), ("float16", "uint16_t")])
def test_what_matrices_lie_in_memory_as(stored: str, type_: str) -> None:
    text = needed("void f(void) { pack(0, 0, 1, 1, 1, 1); }", "float", stored)
    assert f"typedef {type_} data;" in text
    assert defined(text) == [*([f"from_{stored}"] if stored else []), "load_data", "pack"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_definition_has_a_comment_and_a_name(file: Path) -> None:
    """Blank lines stand between definitions alone, which begin with what they are for."""
    for block in file.read_text().strip().split("\n\n"):
        assert block.startswith("// ")
        assert c_text._defined(block)
    assert max(map(len, file.read_text().splitlines())) <= 120


@pytest.mark.parametrize("real", ["float", "double"])
def test_names_are_unique(real: str) -> None:
    other = {"float": "double", "double": "float"}[real]
    blocks = [block for file in FILES if file.stem != other for block in file.read_text().split("\n\n")]
    found = [name for block in blocks for name in {*defined(block)}]
    assert sorted(found) == sorted(set(found))
