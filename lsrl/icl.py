"""Functions approximated in context: `lsrl.icl.approximate` for numbers, `lsrl.icl.tokens` for words.

The network is a fixed program, or weights compiled from it; which function it computes stands in its prompt alone
(Petrov et al., 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lsrl import icl_published
from lsrl.backends.arrays import Array
from lsrl.backends.given_ranges import Given
from lsrl.icl_prompts import STEPS, Grid, PromptError, Table, Word
from lsrl.icl_runners import Means, Question, Runner
from lsrl.program import load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Approximation", "Grid", "Measured", "PromptError", "Table", "Translation", "approximate", "tokens"]

Function = Callable[[Array], ArrayLike]

DIFFERENCE = 2.0**-12
"""Over which share of the box, along each dimension, slopes are measured."""

_LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38}
"""Numbers up to there are finite in a type."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How far an approximation is from its function, in Euclidean norm, at random points of the box.

    Attributes:
        largest, mean: of the distances.
        lipschitz: the constant L that was given, or else the largest slope that was met: an estimate from below.
        given: whether it was given.
        bound: L times the distance from the centre of a cell to its corner, and what the network adds to that; nan
            where nothing bounds what it adds.
    """

    largest: float
    mean: float
    lipschitz: float
    given: bool
    bound: float

    def __str__(self) -> str:
        slopes = f"slopes of {self.lipschitz:.4g} ({'given' if self.given else 'met'})"
        return f"error {self.largest:.3g} (mean {self.mean:.3g}), bound {self.bound:.3g} for {slopes}"


@dataclass(frozen=True, eq=False)
class Approximation:
    """A function that is computed from its values in a prompt.

    Attributes:
        grid: where the prompt has values.
        values: there, [cells, E].
        runner: what answers.
        measured: its error.
    """

    target: Target = field(repr=False)
    grid: Grid
    values: Array = field(repr=False)
    runner: Runner
    measured: Measured

    def __call__(self, x: ArrayLike) -> Array:
        """The function at points of the box: shapes as for the function itself.

        Raises:
            PromptError: a point is outside the box.
        """
        points, shape = self.target.points(np.asarray(x, np.float64))
        found = answers(self.runner, self.grid, self.values, points)
        return found.reshape(shape if self.target.scalar_values else (*shape, -1))

    def plot(self) -> Figure:
        """The function, what the network makes of it, and the error.

        Raises:
            FigureError: there is no matplotlib.
        """
        from lsrl.icl_figures import Both, approximation_figure  # loads matplotlib

        both = Both(
            self.grid,
            self.target,
            lambda points: answers(self.runner, self.grid, self.values, points),
            self.measured.bound,
        )
        return approximation_figure(both, f"{self.runner.title}, {self.grid.length} positions: {self.measured}")


@dataclass(frozen=True, eq=False)
class Target:
    """A function with what its arguments and values look like.

    Attributes:
        scalar_points: it takes numbers [n], not points [n, D].
        scalar_values: it gives numbers [n], not vectors [n, E].
    """

    function: Function
    dimension: int
    scalar_points: bool
    scalar_values: bool

    def __call__(self, points: Array) -> Array:
        """Values [n, E] at points [n, D].

        Raises:
            PromptError: the function gives something else.
        """
        return self.checked(np.asarray(self.function(points[:, 0] if self.scalar_points else points)), len(points))

    @staticmethod
    def checked(found: Array, count: int) -> Array:
        if found.ndim not in (1, 2) or len(found) != count:
            raise PromptError(f"for {count} points a function gives [{count}] or [{count}, E], not {list(found.shape)}")
        if not np.isfinite(found.astype(np.float64)).all():
            raise PromptError("the function is not finite everywhere in the box")
        return found.astype(np.float64).reshape(count, -1)

    def points(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """Arguments as points [n, D], and the shape of their batch."""
        if self.scalar_points:
            return x.reshape(-1, 1), x.shape
        if x.ndim == 0 or x.shape[-1] != self.dimension:
            raise PromptError(f"points have {self.dimension} coordinates; the shape {list(x.shape)} does not end so")
        return x.reshape(-1, self.dimension), x.shape[:-1]


def approximate(
    function: Function,
    lower: ArrayLike = 0.0,
    upper: ArrayLike = 1.0,
    resolution: int = 32,
    *,
    arch: str | None = None,
    target: str = "reference",
    dtype: str = "float32",
    conditional: str | None = None,
    lipschitz: float | None = None,
    queries: int = 256,
    seed: int = 0,
) -> Approximation:
    """A network that computes a function from a prompt of its values on a grid.

    Args:
        function: of all points at once: [n] to [n] or [n, E] for numbers as corners, else [n, D] to [n] or [n, E].
        lower, upper: corners of the box, numbers or [D].
        resolution: cells along each dimension; the prompt has 1 + resolution^D positions.
        arch: the architecture whose weights answer; None for the program itself, run on `target`.
        dtype: of the network.
        conditional: one of the published ones (`direct`, `optimized`, …), for the program as it was published with its
            constants; None for the one of the library.
        lipschitz: a constant of the function, for the bound; without one the largest slope that is met.
        queries: at how many random points, drawn with `seed`, the error is measured.

    Raises:
        PromptError: the box or the function's values make no sense.
        Refusal: the architecture or target does not take the program in this dtype.
    """
    corners = np.broadcast_arrays(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
    scalar = corners[0].ndim == 0
    grid = Grid(np.atleast_1d(corners[0]), np.atleast_1d(corners[1]), resolution)
    probed = np.asarray(function(grid.centres[:, 0] if scalar else grid.centres))
    meant = Target(function, grid.dimension, scalar, probed.ndim == 1)
    values = meant.checked(probed, len(grid.cells))
    if (largest := np.abs(values).max()) > _LARGEST.get(dtype, np.inf):
        raise PromptError(f"the function reaches {largest:.3g}, which {dtype} does not hold")
    program = load("std/exact/vec2vec")
    sizes = {"D": grid.dimension, "E": values.shape[1]}
    asked = Question(program, sizes, ranges(grid, values), grid.length, icl_published.vec2vec, grid.as_published)
    runner = Means(arch, target, dtype, conditional).runner(asked)
    points = np.random.default_rng(seed).uniform(grid.lower, grid.upper, (queries, grid.dimension))
    off = np.linalg.norm(answers(runner, grid, values, points) - meant(points), axis=-1)
    constant = slope(meant, grid, points) if lipschitz is None else lipschitz
    bound = constant * grid.radius + runner.deviation * np.sqrt(values.shape[1])
    measured = Measured(float(off.max()), float(off.mean()), constant, lipschitz is not None, float(bound))
    return Approximation(meant, grid, values, runner, measured)


def ranges(grid: Grid, values: Array) -> dict[str, Given]:
    """What the inputs of `std/exact/vec2vec` are within."""
    step = Fraction(1, STEPS)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    borders = Given(0, grid.resolution + 1, step)
    return {"low": Given(0, grid.resolution, step), "high": borders, "value": Given(low, high)}


def answers(runner: Runner, grid: Grid, values: Array, points: Array) -> Array:
    """What a runner answers, [n, E], to queries [n, D]."""
    return runner.last(grid.prompts(values, points), 1)[:, 0]


def slope(target: Target, grid: Grid, points: Array) -> float:
    """The largest slope between points [n, D] and their neighbours along each dimension."""
    steps = DIFFERENCE * np.diag(grid.upper - grid.lower)
    found = 0.0
    for step in steps:
        behind = np.minimum(points, grid.upper - step)
        off = np.linalg.norm(target(behind + step) - target(behind), axis=-1)
        found = max(found, float(off.max() / np.linalg.norm(step)))
    return found


@dataclass(frozen=True, eq=False)
class Translation:
    """A map of words that is computed from its table in a prompt.

    Attributes:
        answered: what it says to each key of the table, [pairs, T]; -1 for what is no number.
    """

    table: Table
    runner: Runner
    answered: Array = field(repr=False)

    @property
    def wrong(self) -> float:
        """The share of the tokens of all values that are wrong."""
        return float((self.answered != self.table.pairs[:, 1]).mean())

    def __call__(self, word: Word) -> Word | None:
        """The value of a word; None where what the network says is no word, as for keys that are not there.

        Raises:
            PromptError: the word has another length or unknown tokens.
        """
        return self.table.decode(translate(self.runner, self.table, self.table.encode(word)[None])[0])

    def plot(self) -> Figure:
        """How often each token came out where another was meant.

        Raises:
            FigureError: there is no matplotlib.
        """
        from lsrl.icl_figures import translation_figure  # loads matplotlib

        title = f"{self.runner.title}: {100 * self.wrong:.3g} % of the tokens wrong"
        return translation_figure(self.table, self.answered, title)


def tokens(
    table: Mapping[str, str] | Mapping[Word, Word],
    *,
    arch: str | None = None,
    target: str = "reference",
    dtype: str = "float32",
    conditional: str | None = None,
) -> Translation:
    """A network that translates words by a table in its prompt.

    Args:
        table: words of one length, texts or tuples of tokens, and what becomes of them.
        arch, target, dtype, conditional: as for `approximate`.

    Raises:
        PromptError: the words differ in length.
        Refusal: the architecture or target does not take the program in this dtype.
    """
    words = Table(dict(table.items()))
    length, count = words.length, len(words.words)
    sizes = {"T": length, "V": words.vocabulary}
    codes = {"x": Given(0, words.vocabulary - 1, Fraction(1))}
    positions = length * (1 + 2 * count)
    program = load("std/exact/tok2tok")
    asked = Question(program, sizes, codes, positions, icl_published.tok2tok, words.as_published)
    runner = Means(arch, target, dtype, conditional).runner(asked)
    return Translation(words, runner, translate(runner, words, words.pairs[:, 0]))


def translate(runner: Runner, table: Table, queries: Array) -> Array:
    """The codes [n, T] that a runner answers to queries [n, T]; -1 where it says what is no number."""
    found = runner.last(table.prompts(queries), table.length)
    return np.where(np.isfinite(found), np.rint(found), -1)
