"""Pages that are written from tables say what the tables say, and pages written by hand leave nothing out."""

import re
from pathlib import Path

import pytest
from generated_pages import PAGES
from library_page import PICTURES, pictures

from lsrl.codes import CODES
from lsrl.elaborate.functions import FUNCTIONS
from lsrl.ir.cell import DISTRIBUTIONS
from lsrl.lexical import RESERVED
from lsrl.loader import load_library
from support.golden import Golden
from support.process import ROOT

# Too long, too deep, or of characters that cannot be seen.
UNPRINTABLE = {"E0101", "E0102", "E0103", "E0104", "E0105", "E0106", "E0108", "E0110", "E0605"}
LANGUAGE = (ROOT / "docs/language.md").read_text()


@pytest.mark.parametrize("name", ["errors.md", "library.md", "weights-table.md"])
def test_page_is_current(name: str, golden: Golden) -> None:
    golden.check(ROOT / "docs" / name, PAGES[name]())


def test_pictures_of_the_library_are_current(golden: Golden) -> None:
    drawn = pictures()
    for path, text in drawn.items():
        golden.check(ROOT / "docs" / path, text)
    assert {path.name for path in (ROOT / "docs" / PICTURES).iterdir()} == {Path(path).name for path in drawn}


def test_every_code_has_an_example_that_provokes_it_or_cannot_be_shown() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    shown = {code for code in CODES if f"[{code}]: " in page}
    assert set(CODES) - shown == UNPRINTABLE


def pieces_of_code(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`]+)`", prose)


def test_language_page_names_every_function() -> None:
    prelude = {item.name.id for item in load_library("std/prelude").program.items if item.name.id[0] != "_"}
    code = pieces_of_code(LANGUAGE)
    named = {name for piece in code for name in re.findall(r"^\w+|\w+(?=\()", piece)}
    assert {*FUNCTIONS, *prelude} - named == set()


def test_language_page_names_every_distribution_and_reserved_word() -> None:
    words = {word for piece in pieces_of_code(LANGUAGE) for word in re.findall(r"\w+", piece)}
    drawn = set(DISTRIBUTIONS) - {"value"}  # written `= expr`
    assert {*drawn, *RESERVED} - words == set()


def test_architecture_page_speaks_of_modules_that_exist() -> None:
    named = re.findall(r"\blsrl\.([a-z_.]*[a-z_])", (ROOT / "docs/architecture.md").read_text())
    assert len(named) > 40
    for name in named:
        parts = name.split(".")
        path = ROOT.joinpath(*parts if parts[0] in ("ir", "backends") else ("lsrl", *parts))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
