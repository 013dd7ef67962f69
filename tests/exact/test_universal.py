"""The two programs that stand for any function: maps of words and functions on boxes, given in the prompt."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lsrl
from lsrl.compiled import Compiled


def prompt_of_words(query: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """A query [T], then keys and values [pairs, 2, T] in turn."""
    return np.concatenate([query, pairs.ravel()])


def words(seed: int, count: int, length: int, vocabulary: int) -> np.ndarray:
    """Different random keys, each with a random value: [count, 2, length]."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(vocabulary**length, count, replace=False)
    keys = codes[:, None] // vocabulary ** np.arange(length) % vocabulary
    return np.stack([keys, rng.integers(0, vocabulary, (count, length))], 1)


@pytest.mark.parametrize(("length", "vocabulary"), [(1, 30), (3, 26), (10, 10)])
def test_words_are_translated(length: int, vocabulary: int) -> None:
    """Every key of 25 finds its value; the last T outputs are the word."""
    pairs = words(0, 25, length, vocabulary)
    prompts = np.stack([prompt_of_words(key, pairs) for key in pairs[:, 0]])
    sizes = {"T": length, "V": vocabulary}
    fn = lsrl.compile(lsrl.load("std/exact/tok2tok"), target="reference", sizes=sizes, dtype="float32")
    found = fn({}, {"x": prompts}).outputs["y"][:, -length:]
    np.testing.assert_array_equal(found, pairs[:, 1])


def test_unknown_words_and_equal_keys() -> None:
    """An unknown word gives zeros; of equal keys the first counts (in the published program their values add up)."""
    fn = lsrl.compile(lsrl.load("std/exact/tok2tok"), target="reference", sizes={"T": 2, "V": 10})
    pairs = np.array([[[1, 2], [7, 8]], [[3, 4], [5, 6]], [[1, 2], [9, 9]]])
    prompts = np.stack([prompt_of_words(np.array(query), pairs) for query in ([1, 2], [3, 4], [4, 3])])
    assert fn({}, {"x": prompts}).outputs["y"][:, -2:].tolist() == [[7, 8], [5, 6], [0, 0]]


def boxes(function: object, dimensions: int, resolution: int) -> dict[str, np.ndarray]:
    """A grid over the unit cube and the function's values at the centres, one box a position."""
    numbers = np.array(list(itertools.product(range(resolution), repeat=dimensions)))
    high = np.where(numbers == resolution - 1, np.inf, (numbers + 1) / resolution)  # the far border is inside
    return {"low": numbers / resolution, "high": high, "value": function((numbers + 1 / 2) / resolution)}  # type: ignore[operator]


def approximate(fn: Compiled, prompt: dict[str, np.ndarray], queries: np.ndarray) -> np.ndarray:
    """The program's last output, for each query [queries, D]."""
    count = len(queries)
    first = {"low": queries, "high": queries, "value": np.zeros((count, prompt["value"].shape[1]))}
    given = {
        name: np.concatenate([first[name][:, None], np.broadcast_to(array, (count, *array.shape))], 1)
        for name, array in prompt.items()
    }
    return np.asarray(fn({}, given).outputs["y"])[:, -1]


@pytest.mark.parametrize(("dimensions", "resolution"), [(1, 64), (2, 12), (3, 5)])
def test_functions_are_followed_within_the_bound(dimensions: int, resolution: int) -> None:
    """Off by at most L sqrt(D) / (2 N), for a function with the Lipschitz constant L."""
    direction = np.arange(1.0, dimensions + 1)

    def function(x: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(x @ direction), np.abs(x - 0.4).max(-1)], -1)

    lipschitz = np.sqrt((direction**2).sum() + 1)
    fn = lsrl.compile(lsrl.load("std/exact/vec2vec"), target="reference", sizes={"D": dimensions, "E": 2})
    rng = np.random.default_rng(0)
    borders = rng.integers(0, resolution + 1, (40, dimensions)) / resolution
    queries = np.concatenate([rng.uniform(0, 1, (40, dimensions)), borders])
    off = np.linalg.norm(approximate(fn, boxes(function, dimensions, resolution), queries) - function(queries), axis=-1)
    assert off.max() <= lipschitz * np.sqrt(dimensions) / (2 * resolution) + 1e-12
    assert off.max() > lipschitz * np.sqrt(dimensions) / (40 * resolution)


def test_every_border_belongs_to_one_box() -> None:
    """The published cells leave a band of 1/1000^2 between them in which the output is 0."""
    fn = lsrl.compile(lsrl.load("std/exact/vec2vec"), target="reference", sizes={"D": 1, "E": 1})
    prompt = boxes(np.ones_like, 1, 8)
    near = [k / 8 + off for k in range(9) for off in (-1e-7, -1e-12, 0.0, 1e-12, 1e-7) if 0 <= k / 8 + off <= 1]
    np.testing.assert_array_equal(approximate(fn, prompt, np.array(near)[:, None]), 1)
