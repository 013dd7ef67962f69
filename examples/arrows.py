"""Train pLSTM and a vision transformer on small images of arrows and discs, and test both on larger ones.

    python examples/arrows.py --quick -o build/arrows
    python examples/arrows.py --quick -o build/arrows --seeds 0 1 2     two more runs of each; seed 0 is there already
    python examples/arrows.py -o build/arrows_full                      the published sizes, for a GPU

Does the arrow point at the disc?  In larger images it is the same arrow and the same disc, farther apart (Poeppel et
al., 2025, "pLSTM: parallelizable Linear Source Transition Mark networks", section 5.1).  An interrupted run goes on
from its last evaluation; metrics are written as CSV, one file for each model and seed, and drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from arrows_data import Array, images
from arrows_figures import draw_curves, draw_reach, draw_samples
from arrows_models import Kind, Model, Tree
from arrows_results import Row, read_rows, write_rows
from rich.progress import Progress
from safetensors import safe_open
from safetensors.numpy import save_file

TRAINING, VALIDATION, TEST = 42, 100_042, 200_042  # published seeds; for larger images one more


@dataclass(frozen=True)
class Setting:
    """Sizes of an experiment: without changes those of the publication, whose patches have 16 pixels a side.

    Attributes:
        side, larger: pixels along the sides of the images trained on, and of those only tested on.
        shrink: each pixel that models see is the mean of so many along both sides.
        known, unseen, test: images to train on, to follow the training with, and to test on at the end.
        every: steps between two evaluations.
    """

    side: int = 192
    larger: int = 384
    shrink: int = 1
    stem: tuple[int, ...] = (24, 48, 96, 192)
    plstm_blocks: int = 12
    vit_blocks: int = 12
    heads: int = 3
    key: int = 16
    value: int = 16
    steps: int = 39_062
    batch: int = 128
    rate: float = 3e-4
    known: int = 100_000
    unseen: int = 5_120
    test: int = 10_240
    every: int = 781

    def model(self, kind: Kind) -> Model:
        side = self.side // self.shrink // 2 ** len(self.stem)
        blocks = self.plstm_blocks if kind == "plstm" else self.vit_blocks
        return Model(kind, side, self.stem, blocks, self.heads, self.key, self.value)


QUICK = Setting(
    shrink=4,
    stem=(8, 16, 64),
    plstm_blocks=1,
    vit_blocks=2,
    heads=4,
    key=4,
    value=8,
    steps=3000,
    batch=64,
    rate=2e-3,
    unseen=512,
    test=2048,
    every=200,
)


@dataclass(frozen=True)
class Learner:
    """All that changes in training: parameters, and the moments of their gradients."""

    params: Tree
    first: Tree
    second: Tree


jax.tree_util.register_dataclass(Learner, ["params", "first", "second"], [])


def start(model: Model, seed: int) -> Learner:
    params = model.init(seed)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return Learner(params, zeros, zeros)


def cross_entropy(params: Tree, model: Model, shown: jax.Array, hits: jax.Array) -> jax.Array:
    logits = model(params, shown)
    return (jnp.logaddexp(0, logits) - logits * hits).mean()


@partial(jax.jit, static_argnums=(0, 1))
def update(
    model: Model, setting: Setting, learner: Learner, step: int, shown: jax.Array, hits: jax.Array
) -> tuple[Learner, jax.Array]:
    """One step of AdamW (Loshchilov and Hutter, 2019): gradients clipped to norm 1, a rate that rises and falls."""
    loss, gradient = jax.value_and_grad(cross_entropy)(learner.params, model, shown, hits)
    norm = jnp.sqrt(sum(jnp.square(g).sum() for g in gradient.values()))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1, 1 / norm), gradient)
    rate = setting.rate * jnp.minimum(step / (0.05 * setting.steps), (1 + jnp.cos(jnp.pi * step / setting.steps)) / 2)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, learner.first, gradient)
    second = jax.tree.map(lambda m, g: 0.98 * m + 0.02 * g * g, learner.second, gradient)
    scale = jnp.sqrt(1 - 0.98**step) / (1 - 0.9**step)
    params = jax.tree.map(
        lambda p, m, v: p - rate * (scale * m / (jnp.sqrt(v) + 1e-8) + 0.01 * p), learner.params, first, second
    )
    return Learner(params, first, second), loss


def accuracy(guess: Callable[[Array], jax.Array], data: tuple[Array, Array], batch: int) -> float:
    """The share of images that are told right."""
    shown, hits = data
    found = np.concatenate([guess(shown[at : at + batch]) for at in range(0, len(hits), batch)])
    return float(((found > 0) == hits).mean())


_guess = jax.jit(Model.__call__, static_argnums=0)


@dataclass(frozen=True)
class Run:
    """The training of one model from one seed, and its files `FOLDER/MODEL-SEED…`."""

    kind: Kind
    seed: int
    setting: Setting
    folder: Path

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.kind}-{self.seed}{ending}"

    def train(self, progress: Progress) -> Tree:
        """The learned parameters.  Goes on where it was interrupted."""
        setting, model = self.setting, self.setting.model(self.kind)
        learner, rows = self.restored(start(model, self.seed))
        done = rows[-1].step if rows else 0
        task = progress.add_task(f"{self.kind}, seed {self.seed}", total=setting.steps, completed=done)
        losses = []
        for step in range(done + 1, setting.steps + 1):
            numbers = np.random.default_rng([self.seed, step]).integers(0, setting.known, setting.batch)
            shown = images(TRAINING, numbers, setting.side, setting.shrink)
            learner, loss = update(model, setting, learner, step, *shown)
            losses.append(float(loss))
            if step % setting.every == 0 or step == setting.steps:
                rows.append(self.evaluated(learner.params, step, float(np.mean(losses)), VALIDATION, setting.unseen))
                losses = []
                self.save(learner, rows)
            progress.advance(task)
        return learner.params

    def evaluated(self, params: Tree, step: int, loss: float, seed: int, number: int) -> Row:
        """How many of so many images of both sizes are told right."""
        guess = partial(_guess, self.setting.model(self.kind), params)
        shrink, batch = self.setting.shrink, self.setting.batch
        small = accuracy(guess, images(seed, range(number), self.setting.side, shrink), batch)
        large = accuracy(guess, images(seed + 1, range(number), self.setting.larger, shrink), batch)
        return Row(self.kind, self.seed, step, loss, small, large)

    def tested(self, params: Tree) -> Row:
        """The accuracy at the end, on images that nothing was chosen by; measured once."""
        path = self.path(".test.csv")
        if not path.exists():
            loss = read_rows(self.path(".csv"))[-1].loss
            write_rows([self.evaluated(params, self.setting.steps, loss, TEST, self.setting.test)], path)
        return read_rows(path)[0]

    def save(self, learner: Learner, rows: Sequence[Row]) -> None:
        """Write the metrics, then the learner, which counts: a run goes on from its step."""
        parts = vars(learner).items()
        arrays = {f"{part}/{name}": np.asarray(array) for part, tree in parts for name, array in tree.items()}
        write_rows(rows, self.path(".csv"))
        unfinished = self.path(".unfinished")
        save_file(arrays, unfinished, {"step": str(rows[-1].step), "setting": str(self.setting)})
        unfinished.replace(self.path(".safetensors"))

    def restored(self, learner: Learner) -> tuple[Learner, list[Row]]:
        """What `save` wrote, or the learner as it is if nothing is there."""
        saved = self.path(".safetensors")
        if not saved.exists():
            return learner, []
        with safe_open(saved, "numpy") as file:
            about = file.metadata()
            if about["setting"] != str(self.setting):
                sys.exit(f"{saved} is of another experiment, {about['setting']}: choose another folder")
            parts = {
                part: {name: jnp.asarray(file.get_tensor(f"{part}/{name}")) for name in tree}
                for part, tree in vars(learner).items()
            }
        return Learner(**parts), [row for row in read_rows(self.path(".csv")) if row.step <= int(about["step"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the pixels, small models, 3000 steps")
    parser.add_argument("--models", nargs="+", choices=get_args(Kind), default=get_args(Kind), help="which to train")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of parameters and of the order of images")
    parser.add_argument("--steps", type=int, help="length of the training")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="DIR", help="where results go")
    options = parser.parse_args()

    setting = QUICK if options.quick else Setting()
    if options.steps:
        setting = replace(setting, steps=options.steps, every=min(setting.every, options.steps))
    options.output.mkdir(parents=True, exist_ok=True)
    results = []
    with Progress() as progress:
        for kind, seed in product(options.models, options.seeds):
            run = Run(kind, seed, setting, options.output)
            params = run.train(progress)
            results.append(run.tested(params))
            if kind == "plstm":
                draw_reach(setting.model(kind), params, options.output / "reach.png")
    draw_samples((setting.side, setting.larger), setting.shrink, options.output / "samples.png")
    rows = [row for path in sorted(options.output.glob("*-*[0-9].csv")) for row in read_rows(path)]
    draw_curves(rows, (setting.side, setting.larger), options.output / "accuracy.png")
    for row in results:
        shares = (
            f"{100 * row.trained_size:.1f}% on images of the trained size, {100 * row.larger_size:.1f}% on larger ones"
        )
        print(f"{row.model}, seed {row.seed}: {shares}")
    print(f"results: {options.output}")


if __name__ == "__main__":
    main()
