"""Functions and tables for experiments: named ones, and those of samples in files."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsrl.array_files import FileError, read_arrays
from lsrl.backends.arrays import Array
from lsrl.icl_prompts import PromptError


@dataclass(frozen=True, eq=False)
class Example:
    """A function on a box.

    Attributes:
        function: of points [n, D], [n, E].
        lower, upper: corners, [D].
        lipschitz: a constant of the function in Euclidean norms; None where none is known.
    """

    function: Callable[[Array], Array]
    lower: Array
    upper: Array
    lipschitz: float | None = None


def _wave(x: Array) -> Array:
    return np.asarray(np.sin(3 * x))


def _rings(x: Array) -> Array:
    return np.asarray(np.cos(6 * np.linalg.norm(x, axis=-1, keepdims=True)))


def _swirl(x: Array) -> Array:
    """Turns each point by its distance from the origin."""
    angle = np.linalg.norm(x, axis=-1)
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def blend(seed: int) -> Callable[[Array], Array]:
    """The function of the published experiments, [n, 2] to [n, 2]: five values of which the nearer ones weigh more."""
    rng = np.random.default_rng(seed)
    centres, values = rng.uniform(-0.1, 1.1, (5, 2)), rng.uniform(-3, 3, (5, 2))

    def function(x: Array) -> Array:
        weights = np.exp(-np.linalg.norm(x[:, None] - centres, axis=-1))
        return np.asarray(weights @ values / weights.sum(-1, keepdims=True))

    return function


_CUBES = {dimension: (np.zeros(dimension), np.ones(dimension)) for dimension in (1, 2, 3)}

EXAMPLES: Mapping[str, Example] = {
    "wave": Example(_wave, *_CUBES[1], 3.0),
    "rings": Example(_rings, -_CUBES[2][1], _CUBES[2][1], 6.0),
    "swirl": Example(_swirl, -_CUBES[2][1], _CUBES[2][1], 1.0),
    "blend": Example(blend(0), *_CUBES[2]),
    "peak": Example(lambda x: 1 / (1 + 4 * ((x - 0.5) ** 2).sum(-1, keepdims=True)), *_CUBES[3], 1.3),
}


def sampled_function(path: Path) -> Example:
    """A function by its samples, which are interpolated linearly along each dimension.

    The file has `values` [N_1, ..., N_D, E] at equally spaced points, the first and last of which are on the border of
    the box, and its corners `lower` and `upper`, [D].

    Raises:
        FileError: it has not.
    """
    arrays = read_arrays(path)
    if set(arrays) != {"values", "lower", "upper"}:
        raise FileError(f"{path}: samples are the arrays values, lower and upper, not {', '.join(arrays)}")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise FileError(f"{path}: {name} are real numbers, not {array.dtype}")
    values, lower, upper = (arrays[name].astype(np.float64) for name in ("values", "lower", "upper"))
    corners = lower.ndim == 1 and lower.shape == upper.shape and lower.size > 0
    if not corners or values.ndim != len(lower) + 1 or min(values.shape[:-1]) < 2 or values.shape[-1] < 1:
        shapes = f"values {list(values.shape)}, lower {list(lower.shape)}, upper {list(upper.shape)}"
        raise FileError(f"{path}: {shapes}; expected [N_1, ..., N_D, E], [D] and [D], each N at least 2, D and E 1")
    return Example(lambda points: interpolated(values, (points - lower) / (upper - lower)), lower, upper)


def interpolated(values: Array, shares: Array) -> Array:
    """Multilinear interpolation of samples [N_1, ..., N_D, E] at points [n, D] of the unit cube."""
    last = np.array(values.shape[:-1]) - 1
    below = np.minimum(np.floor(shares * last), last - 1).astype(np.int64)
    above = shares * last - below
    found = np.zeros((len(shares), values.shape[-1]))
    for corner in itertools.product((0, 1), repeat=len(last)):
        weights = np.where(corner, above, 1 - above).prod(-1)
        found += weights[:, None] * values[tuple((below + corner).T)]
    return found


def words_of_file(path: Path) -> dict[str, str]:
    """A table of words: a CSV file of two columns, keys and values, without a header.

    Raises:
        PromptError: it is no text, a line has not two entries, or a key comes twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = {number: line for number, line in enumerate(csv.reader(file), 1) if line}
    except (UnicodeDecodeError, csv.Error) as fault:
        raise PromptError(f"{path}: not a CSV file in UTF-8 ({fault})") from fault
    table: dict[str, str] = {}
    for number, line in lines.items():
        if len(line) != 2:
            raise PromptError(f"{path}:{number}: a line has a key and its value, not {len(line)} entries")
        if table.setdefault(line[0], line[1]) != line[1]:
            raise PromptError(f"{path}:{number}: {line[0]} is there already, with another value")
    return table


def random_words(seed: int, count: int, length: int, vocabulary: int) -> Array:
    """Different random keys, each with a random value, of tokens below `vocabulary`: [count, 2, length].

    Raises:
        PromptError: there are not so many words.
    """
    if count > vocabulary**length:
        raise PromptError(f"there are {vocabulary**length} words of {length} of {vocabulary} tokens, not {count}")
    rng = np.random.default_rng(seed)
    keys: dict[tuple[int, ...], None] = {}
    while len(keys) < count:
        keys[tuple(rng.integers(0, vocabulary, length).tolist())] = None
    return np.stack([np.array(list(keys)), rng.integers(0, vocabulary, (count, length))], 1)
