"""Texts that mean harm: each is read or refused in a second of processor time, and only diagnostics come out."""

import random
import time

import pytest

from lsrl.blocks import DEEPEST_BLOCKS, DEEPEST_BRACKETS
from lsrl.format import format_program
from lsrl.ir.span import LsrlError
from lsrl.lexical import decode
from lsrl.parser import parse
from lsrl.tree_expression import DEEPEST_EXPRESSION

SECONDS = 10.0  # of the processor: far above what any takes, far below a hang
CELL = "cell f():\n    y = "
WORDS = ["cell", "def", "input", "f", "(", ")", "[", "]", ":", "=", ",", "'", "+", "**", "x", "1", "~", '"', "\n"]


def codes(text: str) -> list[str]:
    """The codes of the diagnostics; the text is read, and they are rendered, within the time."""
    parse("cell f():\n    output y = 1\n")  # builds the parser
    start = time.process_time()
    found: list[str] = []
    try:
        format_program(parse(text))
    except LsrlError as error:
        found = [diagnostic.code for diagnostic in error.diagnostics if str(diagnostic)]
    assert time.process_time() - start < SECONDS
    return found


def in_lines(word: str, count: int) -> str:
    """A word repeated inside of brackets, on lines of legal length."""
    per_line = 4000 // len(word)
    return "(" + "\n".join(word * min(per_line, count - done) for done in range(0, count, per_line))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (CELL + "x" * 1_000_001, "E0102"),
        (CELL + "x" * 900_000, "E0104"),
        (CELL + "(" * 9_000, "E0106"),
        (CELL + in_lines("(", 10_000), "E0106"),
        (CELL + in_lines("[", 500_000), "E0106"),
        ("".join(" " * depth + "repeat 1:\n" for depth in range(1_400)), "E0106"),
        ("\n".join(" " * (line % 90) + "x" for line in range(10_000)), "E0106"),
        (CELL + in_lines("1+", 100_000) + "1)\n", "E0110"),
        (CELL + in_lines("1+", 10_000) + "1)\n", "E0108"),
        (CELL + in_lines("-", 20_000) + "1)\n", "E0108"),
        (CELL + in_lines("not ", 20_000) + "1)\n", "E0108"),
        (CELL + in_lines("1**", 10_000) + "1)\n", "E0108"),
        (CELL + "f" + in_lines("x)(", 5_000) + "x)\n", "E0108"),
        (CELL + in_lines("a.", 10_000) + "a)\n", "E0108"),
        (CELL + "[" + "1, " * 3_000 + "\n" * 9 + "\n".join(["1, " * 3_000] * 20) + "1]\n", "E0110"),
        (CELL + "1" * 9_000, "E0109"),
        (CELL + "1e99999999999999999999", "E0109"),
        (CELL + "1e-9999", "E0109"),
        (CELL + "1e400j", "E0109"),
        ("cell f():\n    \0\n", "E0103"),
        ("cell f():\n    y = \x1b[2J\n", "E0103"),
        ("cell f():\n    y = 1 \u202e+ 2\n", "E0103"),
        ("cell f():\r    y = 1\r", "E0103"),
        ('"' * 900, "E0202"),
        ("'" * 9_000, "E0201"),
        (("cell f(\n" * 2_000), "E0107"),
        ("cell f():\n" * 4_000, "E0208"),
        ("cell f():\n" + "    y 1\n" * 5_000, "E0212"),
        ("    " * 20 + "y 1\n", "E0208"),
        ("]" * 9_000, "E0107"),
        (CELL + '"""' + "x\n" * 100_000, "E0209"),
    ],
    ids=lambda value: value if len(value) < 20 else f"{value[:12]!r}...",
)
def test_refused(text: str, code: str) -> None:
    assert codes(text)[0] == code


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes(seed: int) -> None:
    data = random.Random(seed).randbytes(100_000)
    (refusal,) = decode(data, "random")[1]
    assert refusal.code == "E0101"


@pytest.mark.parametrize("seed", range(5))
def test_random_characters(seed: int) -> None:
    generator = random.Random(seed)
    assert codes("".join(chr(generator.choice((10, *range(32, 127)))) for _ in range(100_000)))


@pytest.mark.parametrize("seed", range(10))
def test_random_words(seed: int) -> None:
    generator = random.Random(seed)
    assert codes(" ".join(generator.choice(WORDS) for _ in range(2_000)))


@pytest.mark.parametrize(("count", "found"), [(DEEPEST_BRACKETS, []), (DEEPEST_BRACKETS + 1, ["E0106"])])
def test_brackets_up_to_the_limit(count: int, found: list[str]) -> None:
    assert codes(CELL + "[" * count + "x" + "]" * count) == found


@pytest.mark.parametrize(("terms", "found"), [(DEEPEST_EXPRESSION + 1, []), (DEEPEST_EXPRESSION + 2, ["E0108"])])
def test_sums_up_to_the_limit(terms: int, found: list[str]) -> None:
    assert codes(CELL + " + ".join(["x"] * terms)) == found


@pytest.mark.parametrize(("blocks", "found"), [(DEEPEST_BLOCKS, []), (DEEPEST_BLOCKS + 1, ["E0106"])])
def test_blocks_up_to_the_limit(blocks: int, found: list[str]) -> None:
    headers = ["cell f():", *["repeat 1:"] * (blocks - 1)]
    text = "".join(f"{' ' * depth}{header}\n" for depth, header in enumerate(headers)) + " " * blocks + "x = 1\n"
    assert codes(text) == found


def test_a_long_honest_program_is_read() -> None:
    equations = "".join(f"    x{n} = sigmoid(W{n} @ x + b{n})\n" for n in range(500))
    assert codes(f"cell f():\n{equations}") == []
