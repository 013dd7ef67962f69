"""The program that draws the pictures about grids."""

from pathlib import Path

from support.process import ROOT, run_python


def test_pictures_show_waves_and_modes(tmp_path: Path) -> None:
    run_python(str(ROOT / "examples/grid_pictures.py"), str(tmp_path))
    for name, titles in {"grids_waves.svg": ("a grid", "a graph"), "grids_modes.svg": ("P-mode", "D-mode")}.items():
        drawn, published = ((folder / name).read_text().count for folder in (tmp_path, ROOT / "docs/images"))
        assert drawn("<path") == published("<path") > 20
        assert all(drawn(title) == published(title) > 0 for title in titles)
