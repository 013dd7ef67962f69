"""Train linear memories on molecules, graphs.lsrl, to tell how strongly each inhibits its target.

    python examples/graphs.py --quick -o build/demo

Bonds lead away from one atom of a molecule; layers run along them, and against them.  What is compared knows less of
the structure, or more of chemistry: how often each kind of atom and bond occurs, and which circles of atoms do.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from graphs_data import ATOM_FEATURES, BOND_FEATURES, Array, Batch, Molecule, batch, load_molecules, turned
from rich.progress import track
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

import lsrl
import lsrl.torch
from lsrl import graphs

BATCH, WIDTH, LAYERS = 64, 48, 3


class Layer(torch.nn.Module):
    """The memories of graphs.lsrl along bonds and against them, then a network at each atom."""

    def __init__(self) -> None:
        super().__init__()
        program = lsrl.load(Path(__file__).with_name("graphs.lsrl"))
        sizes = {"D": WIDTH, "B": BOND_FEATURES}
        self.there, self.back = (lsrl.torch.Module(program, sizes=sizes) for _ in range(2))
        self.norms = torch.nn.ModuleList(torch.nn.RMSNorm(WIDTH) for _ in range(2))
        self.network = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 2 * WIDTH), torch.nn.GELU(), torch.nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor, bonds: torch.Tensor, graph: graphs.Graph) -> torch.Tensor:
        """Atoms [nodes, WIDTH] and bonds [edges, BOND_FEATURES] of a graph to atoms."""
        u = self.norms[0](x)
        stays = torch.ones(len(graph.turns))
        for memory, way in ((self.there, graph), (self.back, turned(graph))):
            x = x + memory(x=u, bond=bonds, stays=stays, **way.inputs).outputs["y"]
        return x + self.network(self.norms[1](x))


class Model(torch.nn.Module):
    """The activity of each molecule, from the mean and the largest values of its atoms."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Linear(ATOM_FEATURES, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = torch.nn.RMSNorm(WIDTH)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(2 * WIDTH, WIDTH), torch.nn.GELU(), torch.nn.Dropout(0.1), torch.nn.Linear(WIDTH, 1)
        )

    def forward(self, given: Batch) -> torch.Tensor:
        """One number for each molecule, [molecules]; 0 is the mean of those learned from, 1 their deviation."""
        x, bonds = self.embedding(torch.from_numpy(given.atoms)), torch.from_numpy(given.bonds)
        for layer in self.layers:
            x = layer(x, bonds, given.graph)
        x = self.norm(x)
        owner = torch.from_numpy(given.molecule)[:, None].expand_as(x)
        empty = x.new_zeros(len(given.activities), WIDTH)
        pooled = [empty.scatter_reduce(0, owner, x, how, include_self=False) for how in ("mean", "amax")]
        return self.head(torch.cat(pooled, 1))[:, 0]


def shuffled(molecules: Sequence[Molecule], random: np.random.Generator) -> Iterator[Batch]:
    """All molecules once, in batches."""
    order = random.permutation(len(molecules))
    for start in range(0, len(order), BATCH):
        yield batch([molecules[number] for number in order[start : start + BATCH]])


def train(molecules: Sequence[Molecule], epochs: int) -> Model:
    """A model whose numbers are activities less their mean, over their deviation."""
    activities = np.array([each.activity for each in molecules])
    mean, deviation = float(activities.mean()), float(activities.std())
    model, random = Model(), np.random.default_rng(0)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    total = epochs * -(-len(molecules) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=total)
    for _ in track(range(epochs), description="training"):
        for given in shuffled(molecules, random):
            wanted = (torch.from_numpy(given.activities) - mean) / deviation
            loss = torch.nn.functional.smooth_l1_loss(model(given), wanted)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return model


def predicted(model: Model, known: Sequence[Molecule], unseen: Sequence[Molecule]) -> Array:
    """Activities of unseen molecules, in the units of those the model was trained on."""
    activities = np.array([each.activity for each in known])
    model.eval()
    with torch.no_grad():
        found = model(batch(unseen)).numpy()
    return np.asarray(activities.mean() + activities.std() * found)


def baselines(known: Sequence[Molecule], unseen: Sequence[Molecule]) -> dict[str, Array]:
    """What does not look at the structure, or looks at it with an expert's eyes."""
    activities = np.array([each.activity for each in known])
    guesses = {"mean of all": np.full(len(unseen), activities.mean())}
    for name, feature in (("counts of atoms and bonds", "counts"), ("fingerprints of radius 2", "fingerprint")):
        fitted = RidgeCV(np.logspace(-2, 3, 11)).fit([getattr(each, feature) for each in known], activities)
        guesses[name] = fitted.predict([getattr(each, feature) for each in unseen])
    return guesses


def plot(guesses: dict[str, Array], measured: Array, path: Path) -> None:
    figure, axes = plt.subplots(1, len(guesses), figsize=(3.2 * len(guesses), 3.5), layout="constrained", sharey=True)
    ends = [measured.min(), measured.max()]
    for axis, (name, guess) in zip(axes, guesses.items()):
        axis.plot(ends, ends, color="0.7", linewidth=1)
        axis.scatter(measured, guess, s=8)
        error = mean_absolute_error(measured, guess)
        axis.set(title=f"{name}\nmean error {error:.2f}", xlabel="measured pIC50")
    axes[0].set(ylabel="predicted pIC50")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 passes over the molecules instead of 100")
    parser.add_argument("--epochs", type=int, help="number of passes")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="DIR", help="where results go")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the arrays are small: threads would wait for each other
    known, unseen = train_test_split(load_molecules(), test_size=0.2, random_state=0)
    measured = np.array([each.activity for each in unseen])
    model = train(known, options.epochs or (20 if options.quick else 100))
    guesses = {**baselines(known, unseen), "graphs.lsrl": predicted(model, known, unseen)}

    options.output.mkdir(parents=True, exist_ok=True)
    plot(guesses, measured, options.output / "graphs.png")
    with (options.output / "graphs.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["prediction", "mean absolute error", "R2"])
        for name, guess in guesses.items():
            error, share = mean_absolute_error(measured, guess), r2_score(measured, guess)
            rows.writerow([name, f"{error:.4f}", f"{share:.4f}"])
            print(f"{name}: mean error {error:.3f}, R² {share:.3f} on {len(unseen)} unseen molecules")
    print(f"results: {options.output / 'graphs.csv'}, plot: {options.output / 'graphs.png'}")


if __name__ == "__main__":
    main()
