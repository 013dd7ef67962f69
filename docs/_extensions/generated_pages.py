"""The pages that are made from the code.

Those of `PAGES` are committed, and `make pages` writes them; the list of modules is written when the docs are built.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from library_page import library_page
from sphinx.application import Sphinx
from weights_page import weights_page

from lsrl import elaborate
from lsrl.codes import CODES
from lsrl.codes_types import CodeEntry
from lsrl.ir.span import Diagnostic, LsrlError
from lsrl.loader import load_text

DOCS = Path(__file__).parents[1]
PACKAGES = (
    *("lsrl", "lsrl/elaborate", "lsrl/checkpoints", "lsrl/cli"),
    *("ir", "ir/facts", "ir/schedules"),
    *("backends", "backends/runtime", "backends/evaluation", "backends/reference", "backends/weights"),
)
GROUPS = {
    "E01": "Reading",
    "E02": "Syntax",
    "E03": "Names",
    "E04": "Shapes and kinds",
    "E05": "Structure",
    "E06": "Sizes and limits",
    "W03": "Warnings",
}


def errors_page() -> str:
    """Every diagnostic code, from `lsrl/codes.py`."""
    head = (
        "# Diagnostics\n\n"
        "Every message of `lsrl check` has a code. For each: what it means, a program that provokes it, and what is\n"
        "printed. Errors (E) refuse a program; warnings (W) let it pass.\n"
    )
    parts = [head]
    for group, entries in groupby(CODES.values(), key=lambda entry: entry.code[:3]):
        parts += [f"## {GROUPS[group]}\n", *(_code(entry) for entry in entries)]
    return "\n".join(parts)


def _code(entry: CodeEntry) -> str:
    """One code.  An example that cannot be printed, or is too long to be read, is left to the explanation."""
    parts = [f"### {entry.code}: {entry.title}", entry.explanation]
    if _is_readable(entry.example):
        language = "lsrl" if entry.code.startswith("W") else "lsrl-error"
        found = next(report for report in _reports(entry.example) if report.code == entry.code)
        parts += [_fenced(language, entry.example), _fenced("text", "\n".join(found.lines()))]
    return "\n\n".join(parts) + "\n"


def _is_readable(example: str) -> bool:
    lines = example.splitlines()
    return all(line.isprintable() and len(line) <= 100 for line in lines) and len(lines) <= 20


def _reports(example: str) -> Iterable[Diagnostic]:
    """What the checker says of a program."""
    try:
        loaded = load_text(example, "example.lsrl")
        return elaborate.check(loaded.program, loader=loaded.loader)
    except LsrlError as error:
        return error.diagnostics


def modules_page() -> str:
    """Every module, from its docstring."""
    head = "# Modules\n\nOne line for each. How they work together: [architecture](architecture.md).\n"
    return "\n".join([head, *(_package(package) for package in PACKAGES)])


def _package(package: str) -> str:
    rows = [f"| `{path.stem}` | {_summary(path)} |" for path in sorted((DOCS.parent / package).glob("[!_]*.py"))]
    return "\n".join([f"## {package}/\n", "| module | |", "|---|---|", *rows]) + "\n"


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


PAGES = {"errors.md": errors_page, "library.md": library_page, "weights-table.md": weights_page}


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", lambda *_: (DOCS / "modules.md").write_text(modules_page()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
