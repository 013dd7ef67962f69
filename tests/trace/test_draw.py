"""Pictures: what they show, that their formats are well formed, and that nothing in them overlaps."""

from __future__ import annotations

import itertools
import json
import re
from random import Random
from xml.etree import ElementTree

import pytest

from lsrl import elaborate
from lsrl.draw import draw
from lsrl.ir.cell import Cell
from lsrl.layers import lay_out
from lsrl.loader import library, load_library, load_text
from lsrl.picture import Arrow, picture
from support.graphs import random_cell

TWO = """
cell two(D, H):
    input x: [D], stop: [] bool
    param W: [H, D], U: [H, H]
    state h: [H] = 0, total: [] = -inf
    reset when stop
    p = W @ x
    h' = tanh(p + U @ h)
    total' = max(total, sum(h'))
    output h', s = total' / H
"""
SVG = "{http://www.w3.org/2000/svg}"


def graph(text: str) -> Cell:
    loaded = load_text(text)
    return elaborate.elaborate(loaded.program, loader=loaded.loader)


def test_a_picture_shows_equations_recurrences_and_what_is_passed_on() -> None:
    drawn = picture(graph(TWO))
    assert drawn.title == "two, reset when stop"
    assert {box.key: box.text for box in drawn.boxes} == {
        "input:x": ("x",),
        "state:h": ("h",),
        "state:total": ("total",),
        "value:p": ("p = W @ x",),
        "next:h": ("h' = tanh(p + U @ h)",),
        "next:total": ("total' = max(total, sum(h'))",),
        "output:h": ("h",),
        "output:s": ("s = total' / H",),
    }
    assert set(drawn.arrows) == {
        Arrow("input:x", "value:p"),
        Arrow("value:p", "next:h"),
        Arrow("state:h", "next:h"),
        Arrow("next:h", "state:h", back=True),
        Arrow("state:total", "next:total"),
        Arrow("next:h", "next:total"),
        Arrow("next:total", "state:total", back=True),
        Arrow("next:h", "output:h"),
        Arrow("next:total", "output:s"),
    }
    assert drawn.groups == ("h", "total")
    assert [box.group for box in drawn.boxes if box.key.startswith(("state", "next"))] == [0, 1, 0, 1]
    assert next(box.note for box in drawn.boxes if box.key == "state:total") == "[] = -inf"


def test_dot_and_mermaid_say_the_same() -> None:
    cell = graph(TWO)
    dot, mermaid = draw(cell, "dot"), draw(cell, "mmd")
    assert '"next:h" -> "state:h" [style=dashed, constraint=false];' in dot
    assert dot.count("subgraph cluster_") == mermaid.count("subgraph") == 2
    assert dot.count(" -> ") == mermaid.count(" --> ") + mermaid.count(" -.-> ") == len(picture(cell).arrows)
    labels = re.findall(r'label=("(?:[^"\\]|\\.)*"),', dot)
    assert json.loads(labels[0]) == "x\n[D]"
    assert 'n4["h\' = tanh(p + U @ h)<br>[H]"]' in mermaid


@pytest.mark.parametrize("name", library())
def test_the_library_is_drawn_without_overlaps(name: str) -> None:
    loaded = load_library(name)
    for syntax in loaded.program.cells:
        cell = elaborate.elaborate(loaded.program, cell=syntax.name.id, loader=loaded.loader)
        svg = draw(cell, "svg")
        assert svg == draw(cell, "svg")
        check_svg(svg, len(picture(cell).boxes))


@pytest.mark.parametrize("seed", range(20))
def test_any_cell_is_drawn_without_overlaps(seed: int) -> None:
    cell = random_cell(Random(seed))
    check_svg(draw(cell, "svg"), len(picture(cell).boxes))


def check_svg(svg: str, boxes: int) -> None:
    """The document is well formed; its boxes lie within it, apart from each other, and hold their text."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    frames = [frame(rect) for rect in root.iter(f"{SVG}rect") if "box" in rect.attrib.get("class", "")]
    assert len(frames) == boxes
    for left, top, right, bottom in frames:
        assert left >= 0
        assert top >= 0
        assert right <= width + 0.5
        assert bottom <= height + 0.5
    for (l0, t0, r0, b0), (l1, t1, r1, b1) in itertools.combinations(frames, 2):
        assert r0 < l1 or r1 < l0 or b0 < t1 or b1 < t0
    assert len(list(root.iter(f"{SVG}path"))) >= 1


def frame(rect: ElementTree.Element) -> tuple[float, float, float, float]:
    x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_layers_follow_the_arrows_and_keep_boxes_apart() -> None:
    random = Random(1)
    nodes = [("n", i) for i in range(40)]
    arrows = [(a, b) for a, b in itertools.combinations(nodes, 2) if random.random() < 0.06]
    sizes = {node: (random.uniform(20, 120), random.uniform(10, 40)) for node in nodes}
    laid = lay_out(sizes, arrows)
    for source, target in arrows:
        ys = [laid.centers[source][1], *(y for _, y in laid.routes[source, target]), laid.centers[target][1]]
        assert ys == sorted(ys)
        assert len(set(ys)) == len(ys)
    for a, b in itertools.combinations(nodes, 2):
        (xa, ya), (xb, yb) = laid.centers[a], laid.centers[b]
        apart = abs(xa - xb) >= (sizes[a][0] + sizes[b][0]) / 2 or abs(ya - yb) >= (sizes[a][1] + sizes[b][1]) / 2
        assert apart


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no format png; the formats are svg, dot, mmd"):
        draw(graph(TWO), "png")
