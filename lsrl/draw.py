"""A cell as a picture: Graphviz DOT, Mermaid, or SVG drawn here without any other program."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from lsrl.draw_svg import svg
from lsrl.ir.cell import Cell
from lsrl.picture import Box, Picture, picture

DOT_STYLES: Mapping[str, str] = {
    "input": 'shape=box, style="rounded,filled", fillcolor="#eef2f6", color="#64748b"',
    "noise": 'shape=box, style="rounded,filled,dashed", fillcolor="#eef2f6", color="#64748b"',
    "state": 'shape=box, style="rounded,filled", fillcolor="#ffffff", color="#1d4ed8", penwidth=2',
    "value": 'shape=box, style="filled", fillcolor="#ffffff", color="#94a3b8"',
    "next": 'shape=box, style="filled", fillcolor="#ffffff", color="#1d4ed8"',
    "output": 'shape=box, style="rounded,filled", fillcolor="#1e293b", color="#1e293b", fontcolor="#ffffff"',
}
MERMAID_SHAPES: Mapping[str, tuple[str, str]] = {
    "input": ("([", "])"),
    "noise": ("([", "])"),
    "state": ("(", ")"),
    "value": ("[", "]"),
    "next": ("[", "]"),
    "output": ("([", "])"),
}


def draw(cell: Cell, format: str) -> str:
    """The picture of a cell as text of a format: `svg`, `dot` or `mmd` (Mermaid).

    Raises:
        ValueError: there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format}; the formats are {', '.join(FORMATS)}")
    return FORMATS[format](picture(cell))


def dot(drawn: Picture) -> str:
    """The picture in the DOT language of Graphviz."""
    lines = [
        f"digraph {_quoted(drawn.title)} {{",
        f"  label={_quoted(drawn.title)}; labelloc=t; fontname=monospace; rankdir=TB;",
        "  node [fontname=monospace, fontsize=11]; edge [color=gray40, arrowsize=0.7];",
    ]
    lines += [f"  {_dot_box(box)}" for box in drawn.boxes if box.group is None]
    for number, name in enumerate(drawn.groups):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(name)}; style=filled; color=aliceblue;"]
        lines += [f"    {_dot_box(box)}" for box in drawn.boxes if box.group == number]
        lines += ["  }"]
    for arrow in drawn.arrows:
        style = " [style=dashed, constraint=false]" if arrow.back else ""
        lines.append(f"  {_quoted(arrow.source)} -> {_quoted(arrow.target)}{style};")
    return "\n".join([*lines, "}", ""])


def mermaid(drawn: Picture) -> str:
    """The picture in Mermaid's flowchart language, which many Markdown viewers show."""
    ids = {box.key: f"n{place}" for place, box in enumerate(drawn.boxes)}
    lines = ["---", f"title: {drawn.title}", "---", "flowchart TB"]
    lines += [f"  {_mermaid_box(box, ids[box.key])}" for box in drawn.boxes if box.group is None]
    for number, name in enumerate(drawn.groups):
        lines += [f'  subgraph g{number}["{_escaped(name)}"]']
        lines += [f"    {_mermaid_box(box, ids[box.key])}" for box in drawn.boxes if box.group == number]
        lines += ["  end"]
    arrows = {True: "-.->", False: "-->"}
    lines += [f"  {ids[arrow.source]} {arrows[arrow.back]} {ids[arrow.target]}" for arrow in drawn.arrows]
    return "\n".join([*lines, *_mermaid_styles(drawn, ids), ""])


FORMATS: Mapping[str, Callable[[Picture], str]] = {"svg": svg, "dot": dot, "mmd": mermaid}


def _dot_box(box: Box) -> str:
    label = "\\n".join(_quoted(line)[1:-1] for line in (*box.text, box.note) if line)
    return f'{_quoted(box.key)} [label="{label}", {DOT_STYLES[box.role]}];'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _mermaid_box(box: Box, name: str) -> str:
    opening, closing = MERMAID_SHAPES[box.role]
    label = "<br>".join(_escaped(line).replace("  ", "&nbsp;&nbsp;") for line in (*box.text, box.note) if line)
    return f'{name}{opening}"{label}"{closing}'


def _mermaid_styles(drawn: Picture, ids: Mapping[str, str]) -> Iterator[str]:
    styles = {"state": "stroke:#1d4ed8,stroke-width:2px", "output": "fill:#1e293b,color:#ffffff"}
    for role, style in styles.items():
        members = ",".join(ids[box.key] for box in drawn.boxes if box.role == role)
        if members:
            yield f"  classDef {role} {style}"
            yield f"  class {members} {role}"


def _escaped(text: str) -> str:
    """Characters that Mermaid would take for its own."""
    return "".join(f"#{ord(sign)};" if sign in '"#;<>&`*_~' else sign for sign in text)
