"""What the docstring of an emitted module says of its program, whatever the framework."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from lsrl.backends.places import borders, outer_axes
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Shape, shape_of, shape_text
from lsrl.ir.schedules.how import Chunk, How, Newton, Quadratic, Tiles, Tree
from lsrl.ir.value import Kind

WIDTH = 108
NO_BREAK = "\N{NO-BREAK SPACE}"


def title(cell: Cell) -> str:
    """The program's name and what its own docstring says."""
    first, *more = textwrap.dedent(cell.doc).strip().split("\n\n")
    return "\n\n".join(map(_filled, [f"{cell.name}: {first}" if first else cell.name, *more]))


def _filled(paragraph: str) -> str:
    """Lines as long as the header's, but for a list or a formula, which is set in."""
    set_in = any(line.startswith((" ", "- ", "* ")) for line in paragraph.split("\n"))
    return paragraph if set_in else textwrap.fill(" ".join(paragraph.split()), WIDTH)


def origin(source_name: str, command: str, needs: str) -> str:
    """Where the module is from, how to make it again, and what it needs."""
    made = f"Made from {source_name}" if source_name else "Made"
    return f"{made} by\n    {command or 'lsrl'}\nIt needs nothing but {needs}."


def in_words(how: How, along: str = "time") -> str:
    """A schedule of a whole recurrence along an axis: `a scan over time`, `chunks of 64 positions`."""
    match how:
        case Chunk(None):
            return "chunks"
        case Chunk(size):
            return f"chunks of {size} positions"
        case Quadratic():
            return "products of all positions with all"
        case Newton():
            return "Newton iterations"
        case Tiles(None):
            return "tiles of the grid"
        case Tiles(side):
            return f"tiles of the grid, {side} places along each axis"
        case Tree():
            return "tiles of the grid, merged in pairs"
        case _:
            return f"a {how} over {along}"


def arrays(cell: Cell) -> str:
    """Every array that the module takes and gives, by name, with its shape."""
    inputs = [*((i.name, i.shape, i.kind) for i in cell.inputs), *((n.name, n.shape, Kind.FLOAT) for n in cell.noises)]
    rows = (
        ("inputs", outer_axes(cell), inputs),
        ("params", (), [(p.name, p.shape, p.kind) for p in cell.params]),
        *(("state", lead, [(s.name, s.shape, s.kind) for s in states]) for lead, states in borders(cell).items()),
        ("outputs", outer_axes(cell), [(o.name, o.value.shape, o.value.kind) for o in cell.outputs]),
    )
    return "\n".join(["Arrays, by name:", table(rows)])


def table(rows: Iterable[tuple[str, Sequence[str], Iterable[tuple[str, Shape, Kind]]]]) -> str:
    """Groups of arrays, each with a title, its leading axes, and the name, shape and kind of every array."""
    lines = [f"    {title:8} {text}" for title, lead, arrays in rows for text in _row(lead, arrays)]
    return "\n".join(line.rstrip() for line in lines)


def _row(lead: Sequence[str], arrays: Iterable[tuple[str, Shape, Kind]]) -> Iterator[str]:
    """`Wz, Wh [H, D]; bz [H]`, as one text with its continuation lines indented."""
    groups: list[tuple[list[str], str]] = []
    for name, shape, kind in arrays:
        suffix = shape_text((*shape_of(*lead), *shape)) + (f" {kind}" if kind is not Kind.FLOAT else "")
        if groups and groups[-1][1] == suffix:
            groups[-1][0].append(name)
        else:
            groups.append(([name], suffix))
    text = "; ".join(f"{', '.join(names)} {suffix}" for names, suffix in groups)
    if text:
        unbroken = re.sub(r" \[[^]]*\]", lambda shape: shape[0].replace(" ", NO_BREAK), text)
        yield textwrap.fill(unbroken, WIDTH - 13, subsequent_indent=" " * 13).replace(NO_BREAK, " ")
