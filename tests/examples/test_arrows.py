"""The task of pointing arrows: its images, held to geometry by brute force, and the programs that learn it."""

from __future__ import annotations

from importlib import import_module
from math import cos, hypot, log, sin
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

from support.process import ROOT

RESULTS = ROOT / "examples/results/arrows"

# (side, index): hits, length, width, then arrow, angle, disc and radius, of the published generator with seed 42.
PUBLISHED = {
    (192, 0): (True, 29, 2, 33.841525, 128.247763, -0.748074, 100.735282, 71.325894, 23.196262),
    (192, 1): (True, 25, 3, 49.135614, 143.841759, -0.729292, 125.643907, 73.01106, 15.013635),
    (192, 7): (False, 21, 2, 135.814016, 98.884005, 0.018017, 72.84538, 34.865089, 29.944852),
    (384, 1): (True, 25, 3, 76.969235, 309.429771, -0.723882, 277.520885, 129.707446, 15.013635),
    (384, 7): (False, 21, 2, 289.725312, 199.078921, 0.026096, 178.383006, 70.185192, 29.944852),
}


@pytest.fixture
def data() -> ModuleType:
    return import_module("arrows_data")


@pytest.fixture
def arrows() -> ModuleType:
    return import_module("arrows")


def nearest(scene: Any) -> float:
    """How near the ray from the middle of the arrow comes to the middle of the disc, by going along it."""
    steps = np.linspace(0, 800, 8001)
    across = scene.arrow[0] + steps * cos(scene.angle) - scene.disc[0]
    down = scene.arrow[1] + steps * sin(scene.angle) - scene.disc[1]
    return float(np.hypot(across, down).min())


@pytest.mark.parametrize("case", PUBLISHED)
def test_scenes_are_those_of_the_published_generator(data: ModuleType, case: tuple[int, int]) -> None:
    side, index = case
    found = data.scene(42, index, side)
    hits, length, width, *numbers = PUBLISHED[case]
    assert (found.hits, found.length, found.width) == (hits, length, width)
    turned = numbers[2] - found.angle
    assert [*found.arrow, *found.disc, found.radius] == pytest.approx([*numbers[:2], *numbers[3:]], abs=1e-5)
    assert (cos(turned), sin(turned)) == pytest.approx((1, 0), abs=1e-5)


@pytest.mark.parametrize("side", [192, 384])
def test_labels_are_what_rays_do(data: ModuleType, side: int) -> None:
    scenes = [data.scene(3, index, side) for index in range(1000)]
    for scene in scenes:
        reach = nearest(scene) / scene.radius
        assert reach < 1 / 1.2 + 0.01 if scene.hits else reach > 1.2 - 0.01
        assert all(30 <= coordinate <= side - 30 for coordinate in (*scene.arrow, *scene.disc))
        apart = np.abs(np.subtract(scene.arrow, scene.disc))
        assert (apart >= 2 * scene.radius - 1e-9).all()
    assert abs(np.mean([scene.hits for scene in scenes]) - 0.5) < 0.05
    distances = [hypot(*np.subtract(scene.arrow, scene.disc)) for scene in scenes]
    assert (max(distances) > 190) == (side == 384)


def test_images_show_their_scene_alone(data: ModuleType) -> None:
    down, across = np.mgrid[0:192, 0:192]
    for index in range(20):
        scene = data.scene(5, index, 192)
        image = data.draw(scene, 192)
        from_disc = np.hypot(across - scene.disc[0], down - scene.disc[1])
        assert (image[from_disc < scene.radius - 1] == 0).all()
        along = (across - scene.arrow[0]) * cos(scene.angle) + (down - scene.arrow[1]) * sin(scene.angle)
        aside = (down - scene.arrow[1]) * cos(scene.angle) - (across - scene.arrow[0]) * sin(scene.angle)
        on_arrow = (np.abs(along) < scene.length / 2 + 3) & (np.abs(aside) < scene.length / 4 + 2)
        assert (image[(from_disc > scene.radius + 2) & ~on_arrow] == 255).all()
        dark = (image == 0) & (from_disc > scene.radius + 2)
        assert along[dark].max() > scene.length // 2 - 2
        ahead, behind = np.abs(aside[dark & (along > 1)]).max(), np.abs(aside[dark & (along < -1)]).max()
        assert ahead > behind + 1  # the head is at the end that points


def test_an_image_depends_on_its_number_alone(data: ModuleType) -> None:
    shown, hits = data.images(7, [5, 2, 9], 192, 4)
    assert shown.shape == (3, 48, 48)
    alone = data.draw(data.scene(7, 2, 192), 192)
    assert (shown[1] == np.rint(alone.reshape(48, 4, 48, 4).mean((1, 3)))).all()
    assert hits[1] == data.scene(7, 2, 192).hits
    assert (data.images(7, range(10), 192, 4)[0][[5, 2, 9]] == shown).all()
    assert (data.images(8, [5, 2, 9], 192, 4)[0] != shown).any()


class Interrupted(Progress):
    """Stops the training after three steps."""

    def advance(self, *arguments: Any) -> None:
        super().advance(*arguments)
        if self.tasks[-1].completed == 3:
            raise KeyboardInterrupt


def small(arrows: ModuleType, **changes: Any) -> Any:
    sizes = {"shrink": 8, "stem": (8, 8, 32), "plstm_blocks": 1, "vit_blocks": 1, "heads": 2, "key": 4, "value": 8}
    return arrows.Setting(**sizes, batch=32, rate=4e-3, known=32, unseen=8, test=8, **changes)


def test_images_are_learned_by_heart_and_training_goes_on_where_it_stopped(arrows: ModuleType, tmp_path: Path) -> None:
    setting = small(arrows, steps=60, every=2)
    runs = [arrows.Run("plstm", 0, setting, tmp_path / name) for name in ("whole", "parted")]
    for run in runs:
        run.folder.mkdir()
    whole = runs[0].train(Progress(disable=True))
    with pytest.raises(KeyboardInterrupt):
        runs[1].train(Interrupted(disable=True))
    parted = runs[1].train(Progress(disable=True))
    assert all((whole[name] == parted[name]).all() for name in whole)
    metrics = [run.path(".csv").read_text() for run in runs]
    assert metrics[0] == metrics[1]
    rows = arrows.read_rows(runs[0].path(".csv"))
    assert [row.step for row in rows] == [*range(2, 61, 2)]
    assert rows[-1].loss < 0.6 * log(2)  # which is what guessing costs
    with pytest.raises(SystemExit, match="of another experiment"):
        arrows.Run("plstm", 0, small(arrows, steps=50, every=2), tmp_path / "whole").train(Progress(disable=True))


def test_a_finished_run_is_tested_and_drawn(
    arrows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arrows, "QUICK", small(arrows, steps=2, every=2))
    monkeypatch.setattr("sys.argv", ["arrows.py", "--quick", "--models", "plstm", "-o", str(tmp_path)])
    arrows.main()
    (tested,) = arrows.read_rows(tmp_path / "plstm-0.test.csv")
    assert tested.step == 2
    shares = (
        f"{100 * tested.trained_size:.1f}% on images of the trained size, {100 * tested.larger_size:.1f}% on larger"
    )
    assert f"plstm, seed 0: {shares}" in capsys.readouterr().out
    for name in ("accuracy", "reach", "samples"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_models_take_images_larger_than_trained_on(arrows: ModuleType, data: ModuleType) -> None:
    setting = small(arrows, steps=1, every=1)
    model = setting.model("vit")
    params = model.init(0)
    shown, _ = data.images(1, range(3), 384, 8)
    assert model(params, shown).shape == (3,)
    moved = {**params, "positions": params["positions"][::-1]}
    assert np.abs(model(moved, shown) - model(params, shown)).max() > 1e-4
    assert model.patches(params, shown).shape == (3, 6, 6, 32)


def test_committed_results_are_those_of_the_page(arrows: ModuleType) -> None:
    page = (ROOT / "docs/tasks.md").read_text()
    runs = {path.stem: arrows.read_rows(path) for path in sorted(RESULTS.glob("*.csv"))}
    assert list(runs) == ["plstm-0", "plstm-1", "vit-0", "vit-1"]
    for rows in runs.values():
        last = rows[-1]
        name = {"plstm": "pLSTM", "vit": "vision transformer"}[last.model]
        shares = f"{100 * last.trained_size:.1f} % | {100 * last.larger_size:.1f} %"
        assert f"| {name} | {last.seed} | {last.step} | {shares} |" in page
    for name in ("accuracy", "reach", "samples"):
        with Image.open(ROOT / f"docs/images/arrows_{name}.png") as image:
            assert image.width > 500
