"""Digits as grids: both cells learn to tell them."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import lsrl
from support.process import ROOT, run_python


def test_places_see_themselves_and_those_around() -> None:
    known, unseen = import_module("digits_grid").load()
    assert (len(known.labels), len(unseen.labels)) == (1437, 360)
    pixels, image = known.pixels[5], np.pad(known.images[5], 1)
    for y, x in np.ndindex(8, 8):
        assert (pixels[y, x].numpy() == image[y : y + 3, x : x + 3].ravel()).all()


def test_both_cells_tell_digits(tmp_path: Path) -> None:
    printed = run_python(str(ROOT / "examples/digits_grid.py"), "--epochs", "5", "-o", str(tmp_path))
    linear, mdlstm, plstm = (float(share) for share in re.findall(r"(\d+\.\d)%", printed))
    assert 90 < linear < 99
    assert min(mdlstm, plstm) > 40  # the commonest digit alone is a tenth
    with Image.open(tmp_path / "digits_grid.png") as image:
        assert image.width > 500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_an_answer_depends_on_what_is_above_and_to_the_left() -> None:
    program = import_module("digits_grid")
    image = torch.linspace(0.1, 0.9, 64).reshape(1, 8, 8)
    changed = image.clone()
    changed[0, 5, 4] += 0.5  # places of rows 4 .. 6 and columns 3 .. 5 see it
    for cell in program.CELLS:
        run = lsrl.compile(lsrl.load(program.PROGRAM, cell=cell), target="reference")
        params = run.init(seed=0)
        pixels = [program.Digits(shown, torch.zeros(1)).pixels.numpy() for shown in (image, changed)]
        before, after = (run(params, {"pixels": each}).outputs["scores"] for each in pixels)
        differs = (before != after).any(-1)[0]
        assert not differs[:4].any()
        assert not differs[:, :3].any()
        assert differs[4:, 3:].all()
