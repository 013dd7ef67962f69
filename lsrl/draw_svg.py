"""A picture as SVG: recurrences laid out as coloured groups, the groups and all else laid out around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from lsrl.layers import Layout, Node, Point, Size, lay_out
from lsrl.picture import Arrow, Box, Picture

LETTER, LINE = 7.25, 16.0  # of the monospaced face at 12 px
NOTE_LETTER = 6.05
PAD, MARGIN, TITLE, HEAD, LEAST = 12.0, 28.0, 24.0, 26.0, 40.0
PORT: Size = (10.0, 2.0)
TINTS = ("#e6f0fb", "#fdf0e1", "#e8f6ec", "#f5eafa", "#fdeaea", "#e6f6f6")
INKS = ("#2563a8", "#b4661b", "#2f7d47", "#7c3aa0", "#b23a3a", "#217c7c")
STYLE = """\
text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12px; fill: #0f172a }
.note { font-size: 10px; fill: #64748b }
.title { font-size: 14px; font-weight: 600 }
.box { fill: #ffffff; stroke: #94a3b8 }
.input, .noise { fill: #f1f5f9; stroke: #64748b }
.noise { stroke-dasharray: 4 3 }
.output { fill: #1e293b; stroke: #1e293b }
.on-output { fill: #ffffff }
.note.on-output { fill: #cbd5e1 }
.arrow { fill: none; stroke: #64748b; stroke-width: 1.2; marker-end: url(#tip) }
.back { stroke-dasharray: 5 4; stroke-width: 1.5 }"""


@dataclass(frozen=True)
class _Group:
    """A recurrence laid out on its own; `ports` are the places on its border where arrows come in or go out."""

    boxes: Mapping[str, Box]
    layout: Layout
    size: Size
    routes: Sequence[Arrow]


@dataclass(frozen=True)
class _Placed:
    """Where everything is: the middle of each box, the frame of each group, the stops of each arrow."""

    centers: Mapping[str, Point]
    frames: Mapping[int, tuple[float, float, float, float]]
    ways: Sequence[tuple[Arrow, Sequence[Point]]]
    size: Size


def svg(drawn: Picture) -> str:
    """The picture as an SVG document."""
    placed = _place(drawn)
    width, height = placed.size
    sizes = {box.key: _size(box) for box in drawn.boxes}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{escape(drawn.title)}</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{_tip('tip', '#64748b')}{''.join(_tip(f'tip{n}', ink) for n, ink in enumerate(INKS))}</defs>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text class="title" x="{MARGIN:.0f}" y="{TITLE + 6:.0f}">{escape(drawn.title)}</text>',
    ]
    for number, frame in placed.frames.items():
        lines += _frame(number, drawn.groups[number], frame)
    lines += [_curve(arrow, way) for arrow, way in placed.ways]
    lines += [_back(arrow, drawn, placed, sizes) for arrow in drawn.arrows if arrow.back]
    for box in drawn.boxes:
        lines += _box(box, placed.centers[box.key], sizes[box.key])
    return "\n".join([*lines, "</svg>", ""])


def _size(box: Box) -> Size:
    width = max([*(len(line) * LETTER for line in box.text), len(box.note) * NOTE_LETTER, LEAST])
    return width + 2 * PAD, (len(box.text) + bool(box.note)) * LINE + PAD


def _place(drawn: Picture) -> _Placed:
    """Groups first, each by itself; then groups and the other boxes among each other."""
    boxes = {box.key: box for box in drawn.boxes}
    forward = [arrow for arrow in drawn.arrows if not arrow.back]
    groups = {number: _group(number, boxes, forward) for number in range(len(drawn.groups))}
    sizes: dict[Node, Size] = {("box", key): _size(box) for key, box in boxes.items() if box.group is None}
    sizes |= {("group", number): group.size for number, group in groups.items()}
    ends = {arrow: (_outer(boxes[arrow.source]), _outer(boxes[arrow.target])) for arrow in forward}
    outer = lay_out(sizes, [pair for pair in ends.values() if pair[0] != pair[1]])
    down = {node: (x + MARGIN, y + MARGIN + TITLE) for node, (x, y) in outer.centers.items()}
    centers = {key: down["box", key] for key, box in boxes.items() if box.group is None}
    frames = {n: (*_corner(down["group", n], g.size), *g.size) for n, g in groups.items()}
    for number, group in groups.items():
        left, top = frames[number][:2]
        inner = group.layout.centers
        centers |= {key: (inner["box", key][0] + left + PAD, inner["box", key][1] + top + HEAD) for key in group.boxes}
    ways = [(a, _way(a, boxes, ends[a], outer, groups, frames, centers)) for a in forward]
    width, height = outer.size
    return _Placed(centers, frames, ways, (width + 2 * MARGIN + 20, height + 2 * MARGIN + TITLE))


def _outer(box: Box) -> Node:
    return ("box", box.key) if box.group is None else ("group", box.group)


def _group(number: int, boxes: Mapping[str, Box], arrows: Iterable[Arrow]) -> _Group:
    """The boxes of a recurrence with a port above for each thing read from outside, and below for each thing given."""
    own = {key: box for key, box in boxes.items() if box.group == number}
    sizes: dict[Node, Size] = {("box", key): _size(box) for key, box in own.items()}
    links: list[tuple[Node, Node]] = []
    routes = []
    given: list[Node] = []
    for arrow in arrows:
        source, target = _inner(arrow, own)
        if source[0] == target[0] == "port":
            continue
        sizes |= {end: PORT for end in (source, target) if end[0] == "port"}
        given += [target] if target[0] == "port" else []
        links.append((source, target))
        routes.append(arrow)
    layout = lay_out(sizes, links, last=given)
    width, height = layout.size
    return _Group(own, layout, (width + 2 * PAD + 20, height + HEAD + PAD), routes)


def _inner(arrow: Arrow, own: Mapping[str, Box]) -> tuple[Node, Node]:
    """The ends of an arrow inside of a group: boxes, or ports on its border."""
    source: Node = ("box", arrow.source) if arrow.source in own else ("port", "in", arrow.source)
    target: Node = ("box", arrow.target) if arrow.target in own else ("port", "out", arrow.source)
    return source, target


def _corner(center: Point, size: Size) -> Point:
    return center[0] - size[0] / 2, center[1] - size[1] / 2


def _way(
    arrow: Arrow,
    boxes: Mapping[str, Box],
    ends: tuple[Node, Node],
    outer: Layout,
    groups: Mapping[int, _Group],
    frames: Mapping[int, tuple[float, float, float, float]],
    centers: Mapping[str, Point],
) -> list[Point]:
    """From below the source, by the ports of the groups that the arrow leaves and enters, to above the target."""
    source, target = boxes[arrow.source], boxes[arrow.target]
    way = [_below(centers[source.key], _size(source))]
    if source.group is not None:
        way += _inside(arrow, groups[source.group], frames[source.group])
    if source.group is None or source.group != target.group:
        way += [(x + MARGIN, y + MARGIN + TITLE) for x, y in outer.routes.get(ends, ())]
        if target.group is not None:
            way += _inside(arrow, groups[target.group], frames[target.group])
    return [*way, _above(centers[target.key], _size(target))]


def _inside(arrow: Arrow, group: _Group, frame: tuple[float, float, float, float]) -> list[Point]:
    """The stops of an arrow within a group, the port on the border included."""
    source, target = _inner(arrow, group.boxes)
    stops = list(group.layout.routes.get((source, target), ()))
    stops = [group.layout.centers[source]] * (source[0] == "port") + stops
    stops += [group.layout.centers[target]] * (target[0] == "port")
    return [(x + frame[0] + PAD, y + frame[1] + HEAD) for x, y in stops]


def _below(center: Point, size: Size) -> Point:
    return center[0], center[1] + size[1] / 2


def _above(center: Point, size: Size) -> Point:
    return center[0], center[1] - size[1] / 2 - 2


# Pieces of the document


def _tip(name: str, ink: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.8 L8 4 L0 7.2 z" fill="{ink}"/></marker>'
    )


def _frame(number: int, name: str, frame: tuple[float, float, float, float]) -> Iterator[str]:
    x, y, width, height = frame
    ink = INKS[number % len(INKS)]
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="12"'
        f' fill="{TINTS[number % len(TINTS)]}" stroke="{ink}" stroke-opacity="0.35"/>'
    )
    yield f'<text class="note" x="{x + PAD:.1f}" y="{y + 16:.1f}" style="fill:{ink}">recurrence {escape(name)}</text>'


def _box(box: Box, center: Point, size: Size) -> Iterator[str]:
    (x, y), (width, height) = _corner(center, size), size
    radius = {"value": 3.0, "next": 3.0, "state": 10.0}.get(box.role, height / 2 if len(box.text) == 1 else 10.0)
    ink = INKS[box.group % len(INKS)] if box.group is not None else None
    style = f' style="stroke:{ink};stroke-width:{2 if box.role == "state" else 1.2}"' if ink else ""
    yield (
        f'<rect class="box {box.role}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' rx="{radius:.1f}"{style}/>'
    )
    on = " on-output" if box.role == "output" else ""
    baseline = y + PAD / 2 + 12
    for line in box.text:
        anchor = ' text-anchor="middle"' if len(box.text) == 1 else ""
        left = center[0] if len(box.text) == 1 else x + PAD
        place = f'x="{left:.1f}" y="{baseline:.1f}"{anchor} xml:space="preserve"'
        yield f'<text class="{on.strip()}" {place}>{escape(line)}</text>'
        baseline += LINE
    if box.note:
        place = f'x="{center[0]:.1f}" y="{baseline - 1:.1f}" text-anchor="middle"'
        yield f'<text class="note{on}" {place}>{escape(box.note)}</text>'


def _curve(arrow: Arrow, way: Sequence[Point]) -> str:
    """A smooth line through the stops that leaves and arrives vertically."""
    path = f"M{way[0][0]:.1f} {way[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(way):
        middle = (y0 + y1) / 2
        path += f" C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return f'<path class="arrow" d="{path}"/>'


def _back(arrow: Arrow, drawn: Picture, placed: _Placed, sizes: Mapping[str, Size]) -> str:
    """A dashed line on the right, from what is passed on up to the state that it becomes."""
    (x0, y0), (x1, y1) = placed.centers[arrow.source], placed.centers[arrow.target]
    x0, x1 = x0 + sizes[arrow.source][0] / 2, x1 + sizes[arrow.target][0] / 2 + 2
    group = next((box.group for box in drawn.boxes if box.key == arrow.target), None)
    ink = INKS[group % len(INKS)] if group is not None else "#64748b"
    tip = f"tip{group % len(INKS)}" if group is not None else "tip"
    right = max(x0, x1) + 26 + abs(y0 - y1) * 0.06
    return (
        f'<path class="arrow back" style="stroke:{ink};marker-end:url(#{tip})"'
        f' d="M{x0:.1f} {y0:.1f} C{right:.1f} {y0:.1f} {right:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"/>'
    )
