"""Layered drawing of acyclic graphs (Sugiyama, Tagawa and Toda, 1981): where each box goes and how each arrow runs.

Boxes stand in layers by the longest way that leads to them; an arrow over several layers gets an invisible stop in
each; the order within a layer follows the neighbours' (barycentres); then boxes move towards their neighbours where
there is room.  Deterministic: the same graph gives the same drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

SWEEPS = 8
GAP = 24.0  # between neighbours in a layer
RISE = 44.0  # between layers; less above a layer that is no higher than LOW
LOW = 4.0

Node = tuple[Any, ...]
Size = tuple[float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """A drawing with its upper left corner at (0, 0).

    Attributes:
        centers: the middle of each box.
        routes: the stops of each arrow between its boxes, downwards: two for each layer that it crosses, at the layer's
            upper and lower edge; often none.
        size: of the whole.
    """

    centers: Mapping[Node, Point]
    routes: Mapping[tuple[Node, Node], tuple[Point, ...]]
    size: Size


def lay_out(
    sizes: Mapping[Node, Size], arrows: Iterable[tuple[Node, Node]], last: Iterable[Node] = (), gap: float = GAP
) -> Layout:
    """Boxes of the given sizes, and arrows between them that form no cycle; those in `last` go to the last layer."""
    wanted = list(dict.fromkeys(arrow for arrow in arrows if arrow[0] != arrow[1]))
    depth = _depths(sizes, wanted)
    bottom = max(depth.values(), default=0)
    depth |= dict.fromkeys(last, bottom)
    stops = {arrow: _stops(arrow, depth) for arrow in wanted}
    links = [pair for arrow in wanted for pair in pairwise((arrow[0], *stops[arrow], arrow[1]))]
    widths = {node: size[0] for node, size in sizes.items()} | {s: 6.0 for way in stops.values() for s in way}
    layers: list[list[Node]] = [[] for _ in range(bottom + 1)]
    for node in sizes:
        layers[depth[node]].append(node)
    for way in stops.values():
        for stop in way:
            layers[stop[-1]].append(stop)
    above, below = _neighbours(links)
    _order(layers, above, below)
    x = _places(layers, widths, above, below, gap)
    bands, height = _bands(layers, sizes)
    left = min((x[node] - widths[node] / 2 for layer in layers for node in layer), default=0.0)
    right = max((x[node] + widths[node] / 2 for layer in layers for node in layer), default=0.0)
    return Layout(
        {node: (x[node] - left, sum(bands[depth[node]]) / 2) for node in sizes},
        {arrow: tuple((x[s] - left, y) for s in way for y in bands[s[-1]]) for arrow, way in stops.items()},
        (right - left, height),
    )


def _depths(nodes: Iterable[Node], arrows: Sequence[tuple[Node, Node]]) -> dict[Node, int]:
    """The length of the longest way to each node."""
    depth = dict.fromkeys(nodes, 0)
    waiting = {node: sum(1 for _, target in arrows if target == node) for node in depth}
    ready = [node for node, count in waiting.items() if count == 0]
    after: dict[Node, list[Node]] = {node: [] for node in depth}
    for source, target in arrows:
        after[source].append(target)
    while ready:
        node = ready.pop()
        for target in after[node]:
            depth[target] = max(depth[target], depth[node] + 1)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return depth


def _stops(arrow: tuple[Node, Node], depth: Mapping[Node, int]) -> tuple[Node, ...]:
    return tuple(("stop", arrow, layer) for layer in range(depth[arrow[0]] + 1, depth[arrow[1]]))


def _neighbours(links: Iterable[tuple[Node, Node]]) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    above: dict[Node, list[Node]] = {}
    below: dict[Node, list[Node]] = {}
    for upper, lower in links:
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    return above, below


def _order(
    layers: list[list[Node]], above: Mapping[Node, Sequence[Node]], below: Mapping[Node, Sequence[Node]]
) -> None:
    """Sort each layer by the mean place of its neighbours, downwards and upwards in turn."""
    place = {node: index for layer in layers for index, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        neighbours, order = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        for layer in order:
            mean = {node: _mean([place[n] for n in neighbours.get(node, ())], place[node]) for node in layer}
            layer.sort(key=lambda node: mean[node])
            place |= {node: index for index, node in enumerate(layer)}


def _places(
    layers: Sequence[Sequence[Node]],
    widths: Mapping[Node, float],
    above: Mapping[Node, Sequence[Node]],
    below: Mapping[Node, Sequence[Node]],
    gap: float,
) -> dict[Node, float]:
    """The x of each node: near its neighbours, in the order of its layer."""
    x: dict[Node, float] = {}
    for layer in layers:
        edge = -(sum(widths[node] + gap for node in layer) - gap) / 2
        for node in layer:
            x[node] = edge + widths[node] / 2
            edge += widths[node] + gap
    for sweep in range(SWEEPS):
        neighbours, order = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        for layer in order:
            wished = {node: _mean([x[n] for n in neighbours.get(node, ())], x[node]) for node in layer}
            x |= _spread(layer, wished, widths, gap)
    return x


def _spread(
    layer: Sequence[Node], wished: Mapping[Node, float], widths: Mapping[Node, float], gap: float
) -> dict[Node, float]:
    """Positions as near the wished ones as order and distances allow: the mean of packing from left and from right."""
    left: dict[Node, float] = {}
    right: dict[Node, float] = {}
    for before, node in zip((None, *layer), layer, strict=False):
        least = left[before] + (widths[before] + widths[node]) / 2 + gap if before else wished[node]
        left[node] = max(wished[node], least)
    for after, node in zip((None, *reversed(layer)), reversed(layer), strict=False):
        most = right[after] - (widths[after] + widths[node]) / 2 - gap if after else wished[node]
        right[node] = min(wished[node], most)
    return {node: (left[node] + right[node]) / 2 for node in layer}


def _bands(layers: Sequence[Sequence[Node]], sizes: Mapping[Node, Size]) -> tuple[list[tuple[float, float]], float]:
    """The upper and lower edge of each layer, and the height of all."""
    bands: list[tuple[float, float]] = []
    bottom = -RISE
    for layer in layers:
        height = max((sizes[node][1] for node in layer if node in sizes), default=0.0)
        top = bottom + (RISE if height > LOW else RISE / 3)
        bottom = top + height
        bands.append((top, bottom))
    return bands, max(bottom, 0.0)


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
