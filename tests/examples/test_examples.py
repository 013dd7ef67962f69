"""The programs of examples/ learn, in a form that takes seconds."""

import re
from pathlib import Path

from PIL import Image

from support.process import ROOT, run_python


def numbers(text: str, unit: str) -> list[float]:
    """The decimal numbers before `unit`, in order."""
    return [float(number) for number in re.findall(rf"(\d+\.\d+){unit}", text)]


def assert_plot(path: Path) -> None:
    """It is an image in which something is drawn."""
    with Image.open(path) as image:
        assert min(image.size) >= 500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_charlm_learns_more_than_pairs_of_characters(tmp_path: Path) -> None:
    printed = run_python(str(ROOT / "examples/charlm.py"), "--steps", "50", "-o", str(tmp_path))
    single, pairs, model = numbers(printed, " bits per character")
    assert 4 < pairs + 1 < single < 5
    assert model < pairs
    written = (tmp_path / "charlm.txt").read_text()
    assert written.strip() in printed
    assert len(written) > 600
    assert_plot(tmp_path / "charlm.png")


def test_digits_are_read(tmp_path: Path) -> None:
    printed = run_python(str(ROOT / "examples/digits.py"), "--epochs", "8", "-o", str(tmp_path))
    accuracy = numbers(printed, "%")
    assert len(accuracy) == 8
    assert accuracy[-1] > 80
    assert accuracy[0] < accuracy[3] < accuracy[-1] + 5
    assert_plot(tmp_path / "digits.png")


def test_network_from_a_program_learns_to_be_tolerant(tmp_path: Path) -> None:
    printed = run_python(str(ROOT / "examples/finetune_weights.py"), "--steps", "150", "-o", str(tmp_path))
    *exact, a, b, c, d, e, f, g, h, i, j = numbers(printed, "%")
    assert exact == [100, 100, 100]
    for before, after in ((a, b), (c, d), (e, f)):
        assert before < 87
        assert after > before + 2
    assert max(g, h, i, j) < 30
    drawn = (tmp_path / "finetune_weights.svg").read_text()
    published = (ROOT / "docs/images/finetune_weights.svg").read_text()
    assert drawn.count("from the program") == published.count("from the program") == 3
