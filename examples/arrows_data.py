"""Arrow-pointing images (Poeppel et al., 2025): an arrow and a disc, and whether the arrow points at the disc.

Geometry and order of drawing random numbers are those of the published generator (github.com/ml-jku/
arrow_pointing_dataset, with the experiments' settings).  Objects keep their size in pixels where images are larger, so
that a larger image asks for the same over longer distances.  No ray passes within a factor of 1.2 of a tangent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, atan2, cos, hypot, pi, sin
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray[Any, np.dtype[Any]]

BORDER = 30  # pixels around the square in which centres lie
RADIUS = (15, 30)
LENGTH = (15, 30)  # of the arrow; the upper ends of these two are excluded
WIDTH = (2, 4)
MARGIN = 1.2  # a ray that hits also hits a disc smaller by this factor; one that misses, also one larger by it


@dataclass(frozen=True)
class Scene:
    """What an image shows, in pixels; angles are in radians, from the x axis towards y, which points down."""

    arrow: tuple[float, float]
    angle: float
    length: int
    width: int
    disc: tuple[float, float]
    radius: float
    hits: bool


def scene(seed: int, index: int, side: int) -> Scene:
    """Image `index` of a data set: for given numbers always the same, whatever was drawn before."""
    start = int(np.random.default_rng(seed).integers(2**62))
    return _draw_scene(np.random.default_rng(start + index), side)


def _draw_scene(random: np.random.Generator, side: int) -> Scene:
    hits = random.random() < 0.5
    length, width = int(random.uniform(*LENGTH)), int(random.uniform(*WIDTH))
    inner = side - 2 * BORDER
    arrow = inner * random.random(), inner * random.random()
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * random.random()
    disc = _elsewhere(arrow[0], inner, radius, random), _elsewhere(arrow[1], inner, radius, random)
    across, down = disc[0] - arrow[0], disc[1] - arrow[1]
    half = asin((radius / MARGIN if hits else radius * MARGIN) / hypot(across, down))  # of the angle the disc fills
    turn = random.random()
    angle = atan2(down, across) + (half * (2 * turn - 1) if hits else half + 2 * (pi - half) * turn)
    shifted = [(x + BORDER, y + BORDER) for x, y in (arrow, disc)]
    return Scene(shifted[0], angle, length, width, shifted[1], radius, hits)


def _elsewhere(coordinate: float, inner: float, radius: float, random: np.random.Generator) -> float:
    """A coordinate for the disc, at least two radii from the arrow's: drawn after it, going on from 0 at the border."""
    found = coordinate + 2 * radius + (inner - 4 * radius) * random.random()
    return found - inner if found > inner else found


def draw(shown: Scene, side: int, shrink: int = 1) -> Array:
    """The image [side // shrink, side // shrink], uint8, black on white; it is drawn in full and then averaged."""
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    (x, y), half, stroke = shown.arrow, shown.length // 2, shown.length // 2.5
    tip = x + half * cos(shown.angle), y + half * sin(shown.angle)
    tail = x - half * cos(shown.angle), y - half * sin(shown.angle)
    pen.line((*tail, *tip), fill=0, width=shown.width)
    for angle in (shown.angle - 0.5, shown.angle + 0.5):
        pen.line((tip[0] - stroke * cos(angle), tip[1] - stroke * sin(angle), *tip), fill=0, width=shown.width)
    (x, y), r = shown.disc, shown.radius
    pen.ellipse((x - r, y - r, x + r, y + r), fill=0)
    return np.asarray(image if shrink == 1 else image.reduce(shrink))


def images(seed: int, numbers: Sequence[int] | range, side: int, shrink: int = 1) -> tuple[Array, Array]:
    """The images of these numbers [n, side // shrink, side // shrink], uint8, and whether each arrow hits, [n]."""
    start = int(np.random.default_rng(seed).integers(2**62))
    scenes = [_draw_scene(np.random.default_rng(start + number), side) for number in numbers]
    return np.stack([draw(each, side, shrink) for each in scenes]), np.array([each.hits for each in scenes])
