"""Named functions have the constants that they claim; files are what they should be or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsrl.array_files import FileError, write_arrays
from lsrl.icl_functions import EXAMPLES, blend, interpolated, random_words, sampled_function, words_of_file
from lsrl.icl_prompts import PromptError


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.lipschitz])
def test_lipschitz_constants_hold_and_are_tight(name: str) -> None:
    """Largest singular values of Jacobians by central differences, at random points."""
    example, h = EXAMPLES[name], 1e-6
    points = np.random.default_rng(0).uniform(example.lower, example.upper, (4000, len(example.lower)))
    slopes = [
        (example.function(points + step) - example.function(points - step)) / (2 * h)
        for step in h * np.eye(len(example.lower))
    ]
    largest = np.linalg.svd(np.stack(slopes, -1), compute_uv=False).max()
    assert 0.95 * example.lipschitz < largest <= example.lipschitz * (1 + 1e-6)


def test_blend_is_an_average_of_its_five_values() -> None:
    rng = np.random.default_rng(3)
    centres, values = rng.uniform(-0.1, 1.1, (5, 2)), rng.uniform(-3, 3, (5, 2))
    x = np.array([0.3, 0.8])
    weights = [np.exp(-np.hypot(*(x - centre))) for centre in centres]
    expected = sum(weight * value for weight, value in zip(weights, values)) / sum(weights)
    np.testing.assert_allclose(blend(3)(x[None])[0], expected)


def test_samples_are_interpolated(tmp_path: Path) -> None:
    """Exactly where the function is multilinear, and at the samples wherever."""

    def function(x: np.ndarray) -> np.ndarray:
        return np.stack([1 + 2 * x[..., 0] - x[..., 1] + 3 * x[..., 0] * x[..., 1], x[..., 1]], -1)

    lower, upper = np.array([-1.0, 2.0]), np.array([1.0, 5.0])
    sides = np.meshgrid(np.linspace(-1, 1, 4), np.linspace(2, 5, 3), indexing="ij")
    write_arrays(tmp_path / "f.npz", {"values": function(np.stack(sides, -1)), "lower": lower, "upper": upper})
    found = sampled_function(tmp_path / "f.npz")
    points = np.concatenate([np.random.default_rng(0).uniform(lower, upper, (50, 2)), [lower, upper]])
    np.testing.assert_allclose(found.function(points), function(points), rtol=1e-12)
    rough = np.random.default_rng(1).normal(size=(5, 1))
    np.testing.assert_allclose(interpolated(rough, np.linspace(0, 1, 5)[:, None]), rough)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"values": np.zeros((3, 1))}, "values, lower and upper, not values"),
        ({"values": np.zeros((3, 1)), "lower": np.zeros(2), "upper": np.ones(2)}, r"values \[3, 1\], lower \[2\]"),
        ({"values": np.zeros((1, 1)), "lower": np.zeros(1), "upper": np.ones(1)}, "at least 2"),
        ({"values": np.zeros((3, 0)), "lower": np.zeros(1), "upper": np.ones(1)}, r"values \[3, 0\]"),
        ({"values": np.zeros(3), "lower": np.zeros(0), "upper": np.ones(0)}, r"lower \[0\]"),
        ({"values": np.zeros((3, 1)) * 1j, "lower": np.zeros(1), "upper": np.ones(1)}, "real numbers, not complex128"),
        ({"values": np.array([["a"], ["b"]]), "lower": np.zeros(1), "upper": np.ones(1)}, "real numbers, not <U1"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], says: str) -> None:
    write_arrays(tmp_path / "f.npz", arrays)
    with pytest.raises(FileError, match=says):
        sampled_function(tmp_path / "f.npz")


def test_tables_from_files(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text('CAN,OTT\n\nFRA,PAR\n"A,B",XYZ\nCAN,OTT\n')
    assert words_of_file(path) == {"CAN": "OTT", "FRA": "PAR", "A,B": "XYZ"}
    path.write_text("CAN,OTT\n\nCAN,TOR\n")
    with pytest.raises(PromptError, match=r"words.csv:3: CAN is there already"):
        words_of_file(path)
    path.write_text("CAN\n")
    with pytest.raises(PromptError, match=r"words.csv:1: .* not 1 entries"):
        words_of_file(path)
    path.write_bytes(b"\xff\xfea,b")
    with pytest.raises(PromptError, match=r"words.csv: not a CSV file in UTF-8"):
        words_of_file(path)


def test_random_words_have_different_keys() -> None:
    words = random_words(0, 9, 2, 3)
    assert len({tuple(key) for key in words[:, 0].tolist()}) == 9
    assert words.min() == 0
    assert words.max() == 2
    with pytest.raises(PromptError, match="9 words of 2 of 3 tokens, not 10"):
        random_words(0, 10, 2, 3)
