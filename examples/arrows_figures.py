"""The pictures of arrows.py: accuracy along the training, images of both sizes, where a trained layer's beams go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from arrows_data import Array, images
from arrows_models import Model, Tree, normalised, under
from arrows_results import Row

import lsrl

NAMES = {"plstm": "pLSTM", "vit": "vision transformer"}
COLOURS = {"plstm": "tab:blue", "vit": "tab:orange"}
RADIUS = 12  # places around the one that writes


def draw_curves(rows: Sequence[Row], sides: tuple[int, int], path: Path) -> None:
    """Accuracy against steps, one line for each model and seed, at both sizes of images."""
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.6), layout="constrained", sharey=True)
    for axis, side, what, field in zip(
        axes, sides, ("the size trained on", "larger images"), ("trained_size", "larger_size")
    ):
        for kind, seed in sorted({(row.model, row.seed) for row in rows}):
            run = [row for row in rows if (row.model, row.seed) == (kind, seed)]
            shares = [100 * getattr(row, field) for row in run]
            first = seed == min(row.seed for row in rows if row.model == kind)
            label = NAMES[kind] if first else None
            axis.plot([row.step for row in run], shares, color=COLOURS[kind], label=label, linewidth=1.4)
        axis.axhline(50, color="0.6", linestyle=":", linewidth=1)
        axis.set(title=f"{what}: {side} pixels", xlabel="steps of training", ylim=(45, 100))
    axes[0].set(ylabel="unseen images told right, %")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_samples(sides: tuple[int, int], shrink: int, path: Path) -> None:
    """Two images of each size that hit and two that miss, as models see them and at the same scale."""
    size = (8.5, 8.5 / 4 * (1 + sides[0] / sides[1]))
    figure, axes = plt.subplots(2, 4, figsize=size, height_ratios=sides, layout="constrained")
    for row, side in zip(axes, sides):
        shown, hits = images(1, range(16), side, shrink)
        chosen = [*np.flatnonzero(hits)[:2], *np.flatnonzero(~hits)[:2]]
        for axis, number in zip(row, chosen):
            axis.imshow(shown[number], cmap="gray", vmin=0, vmax=255, extent=(0, side, side, 0))
            margin = (max(sides) - side) / 2
            axis.set(xlim=(-margin, side + margin), xticks=[], yticks=[])
            axis.set_title("hits" if hits[number] else "misses", fontsize=9)
            axis.spines[:].set_visible(False)
            axis.add_patch(plt.Rectangle((0, 0), side, side, fill=False, edgecolor="0.6", clip_on=False))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_reach(model: Model, params: Tree, path: Path) -> None:
    """What arrives of 1 that the place in the middle writes, in each head, all four ways: darker is more."""
    found = reach(model, params)
    figure, axes = plt.subplots(
        1, len(found), figsize=(2.3 * len(found) + 0.7, 2.7), layout="constrained", squeeze=False
    )
    for head, (axis, shares) in enumerate(zip(axes[0], found)):
        shown = axis.imshow(np.log10(np.maximum(shares, 1e-6)), cmap="viridis_r", vmin=-3, vmax=0)
        axis.plot(RADIUS, RADIUS, "o", color="tab:red", markersize=4)
        axis.set(title=f"head {head + 1}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, shrink=0.8, label="log10 of what arrives")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def reach(model: Model, params: Tree) -> Array:
    """What arrives around a place that writes 1 to its edges, in the first layer and in white, [heads, side, side].

    Each way reaches a quadrant, with the direction and the decay that its heads have where nothing is drawn.
    """
    side = 2 * RADIUS + 1
    white = np.full((1, 8 * 2 ** len(model.stem), 8 * 2 ** len(model.stem)), 255, np.uint8)
    u = np.asarray(normalised(model.patches(params, jnp.asarray(white))))[0, 4, 4]
    total = np.zeros((model.heads, side, side))
    for image, flip in (("image", slice(None)), ("mirrored", slice(None, None, -1))):
        for way, turn in (("way", slice(None)), ("way_2", slice(None, None, -1))):
            quadrant = np.zeros_like(total)
            quadrant[:, RADIUS:, RADIUS:] = _beams(under(params, f"0.{image}.{way}."), u)
            total += quadrant[:, turn, turn][:, :, flip]
    return total


def _beams(params: Tree, u: Array) -> Array:
    """What the heads of one way bring from the first place to each, [heads, RADIUS + 1, RADIUS + 1]."""
    heads, side = len(params["b_a"]), RADIUS + 1
    ones, first = np.ones((1, side, side, heads)), np.zeros((1, side, side, heads))
    first[:, 0, 0] = 1
    gates = {
        name: ones / (1 + np.exp(-(np.asarray(params[f"W_{name}"]) @ u + np.asarray(params[f"b_{name}"]))))
        for name in ("a", "gamma")
    }
    given = {"q": ones[..., None], "k": first[..., None], "v": ones[..., None], "d": 0 * ones, **gates}
    run = lsrl.compile(lsrl.load("std/plstm2d"), target="reference", sizes={"N": heads, "K": 1, "V": 1})
    found = run({}, {**given, **dict.fromkeys(("sr", "sd", "mr", "md"), ones)}).outputs["o"]
    return np.moveaxis(np.asarray(found[0, ..., 0]), -1, 0)
