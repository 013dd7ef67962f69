"""Programs broken at random: whatever is wrong with a text, the checker says so and nothing else happens."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

import lsrl
from lsrl import elaborate

STD = sorted((Path(lsrl.__file__).parent / "std").rglob("*.lsrl"))
TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|\n *|\S| +")
WORDS = (
    "x",
    "h",
    "D",
    "H",
    "0",
    "1",
    "-1",
    "'",
    ",",
    ":",
    "=",
    "(",
    ")",
    "[",
    "]",
    "+",
    "@",
    "*",
    "state",
    "input",
    "h'",
    "[H]",
)


def mutated(text: str, random_: random.Random) -> str:
    """The text with one to three tokens dropped, doubled, exchanged or replaced."""
    tokens = TOKEN.findall(text)
    for _ in range(random_.randint(1, 3)):
        place = random_.randrange(len(tokens))
        match random_.randrange(4):
            case 0:
                del tokens[place]
            case 1:
                tokens.insert(place, tokens[place])
            case 2:
                other = random_.randrange(len(tokens))
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case _:
                tokens[place] = random_.choice(WORDS)
    return "".join(tokens)


def diagnostics(text: str) -> tuple[lsrl.Diagnostic, ...]:
    """What the checker says of a text."""
    try:
        return elaborate.check(lsrl.parse(text).loaded.program)
    except lsrl.LsrlError as error:
        return error.diagnostics


@pytest.mark.parametrize("path", STD, ids=lambda path: path.stem)
def test_a_broken_program_gets_diagnostics_with_places(path: Path) -> None:
    text = path.read_text()
    random_ = random.Random(path.stem)
    broken = [mutated(text, random_) for _ in range(60)]
    found = [diagnostics(program) for program in broken]
    assert sum(1 for each in found if each) > 20
    for program, each in zip(broken, found, strict=True):
        lines = program.split("\n")
        for diagnostic in each:
            if diagnostic.span is not None and diagnostic.span.source.text == program:
                assert 1 <= diagnostic.span.line <= len(lines) + 1
