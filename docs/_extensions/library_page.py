"""The page about the library, from its catalogue and its programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from lsrl.catalog import PARTS, Check, Entry, Recurrence, catalog
from lsrl.draw import draw
from lsrl.latex import equations
from lsrl.loader import load_library
from lsrl.program import load

PICTURES = "images/library"
HEAD = """\
# The library

Programs are used by name, `lsrl run std/gru`, or inside others, `from std import gru`. `lsrl list` shows them in the
terminal, and searches. [Another program](add-a-program.md) is one file and one row of a table.

Each program stands here with its equations, what the compiler found out about it, the schedules it can run by, and the
implementation by others that it is held to: relative errors of values and of gradients, in float64, the largest of any
array. Where a published implementation differs from its paper, the entry says so. Every program is also run by every
legal schedule on every backend, and compared with the float64 reference.
"""
ALONE = "No state feeds back into itself: all positions at once."
OUTSIDE_HEAD = """\
## Not in the library

Some published models are not recurrences with a state of fixed size, which is all that a step can say; others are
compositions of what is here.

| model | why |
|---|---|
"""
OUTSIDE = (
    (
        "softmax attention over an unbounded past, with a growing cache",
        "the state grows with the length; `std/tova` bounds it, `std/blocks/griffin` looks back over a window",
    ),
    ("path attention, forgetting attention, DeltaFormer", "scores between all pairs of positions"),
    (
        "kernels as long as the sequence (CKConv, Hyena)",
        "the whole past is read at every position; `std/ckconv` and `std/hyena` stop at K positions",
    ),
    (
        "norms over the whole sequence (the dense memory of MossFormer2, DSS-SOFTMAX)",
        "a position needs what comes later",
    ),
    ("recurrent independent mechanisms", "the k most active modules: a sort, which the language does not have"),
    ("retrieval branches (Resona), external tools", "a call outside of the program"),
    (
        "RecurFormer, Titans' MAC, MAG and MAL, Recurrent VLN-BERT",
        "compositions of `std/blocks/mamba`, of `std/titans` with `std/attention`, of `std/recurrent_memory`",
    ),
)


def library_page() -> str:
    """Every program of the library, from `lsrl/std/`."""
    entries = catalog()
    families = [(family, list(members)) for family, members in groupby(entries, key=lambda entry: entry.family)]
    index = [line for family, members in families for line in _index(family, members)]
    sections = [_section(family, members) for family, members in families]
    outside = OUTSIDE_HEAD + "".join(f"| {model} | {why} |\n" for model, why in OUTSIDE)
    return "\n".join([HEAD, *index, *sections, outside])


def pictures() -> Mapping[str, str]:
    """The graph of every program that runs, by the path of its file below `docs/`."""
    programs = [entry for entry in catalog() if entry.family != PARTS]
    return {_picture(entry): draw(load(entry.name).cell(entry.sizes), "svg") for entry in programs}


def _picture(entry: Entry) -> str:
    return f"{PICTURES}/{entry.name.removeprefix('std/').replace('/', '-')}.svg"


def _index(family: str, entries: list[Entry]) -> Iterator[str]:
    yield f"**{family}**: " + ", ".join(f"[{_short(entry)}](#{_anchor(entry)})" for entry in entries) + "\n"


def _short(entry: Entry) -> str:
    return entry.name.removeprefix("std/").removeprefix("blocks/").replace("_", r"\_")


def _anchor(entry: Entry) -> str:
    """As headings are named by GitHub and by MyST."""
    return entry.name.replace("/", "")


def _section(family: str, entries: list[Entry]) -> str:
    return "\n".join([f"## {family}\n", *map(_program, entries)])


def _program(entry: Entry) -> str:
    loaded = load_library(entry.name)
    doc = (loaded.program.doc or "").strip()
    source = loaded.program.source.text.split('"""', 2)[2].strip("\n")
    parts = [f"### {entry.name}", doc]
    if entry.family != PARTS:
        parts += [_fenced("math", equations(loaded.program.cells[-1])), *_facts(entry)]
    parts += [_fenced("lsrl", source)]
    if entry.family != PARTS:
        parts += [f"![The graph of {entry.name}]({_picture(entry)})"]
    return "\n\n".join(parts) + "\n"


def _facts(entry: Entry) -> Iterator[str]:
    found = [_recurrence(each) for each in entry.recurrences] or [ALONE]
    yield "\n".join(f"- {line}" for line in [*found, *map(_check, entry.checks)])


def _recurrence(found: Recurrence) -> str:
    states = ", ".join(f"`{name}`" for name in found.states)
    return f"{states}: {found.kind}. Schedules: {', '.join(found.schedules)}."


def _check(check: Check) -> str:
    slip = f" {check.slip}" if check.slip else ""
    return f"Agrees with {check.reference}: values {check.values:.0e}, gradients {check.gradients:.0e}.{slip}"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
