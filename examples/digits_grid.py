"""Train two cells over grids, those of digits_grid.lsrl, on scikit-learn's handwritten digits.

    python examples/digits_grid.py --quick -o build/demo

Each place of a grid of 8 x 8 gets the pixels around it, and has an answer from what lies above and to the left.  The
answer of the last place counts; what the others would say is drawn.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from rich.progress import track
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import lsrl
import lsrl.torch

BATCH, RATE = 64, 1e-2
CELLS = {"by_mdlstm": "MD-LSTM", "by_plstm": "pLSTM"}
PROGRAM = Path(__file__).with_name("digits_grid.lsrl")


@dataclass(frozen=True)
class Digits:
    """Images [n, 8, 8] with pixels in 0 .. 1, and labels [n]."""

    images: torch.Tensor
    labels: torch.Tensor

    @property
    def pixels(self) -> torch.Tensor:
        """What each place sees, itself and the eight around it, [n, 8, 8, 9]; outside of the image all is 0."""
        around = torch.nn.functional.unfold(self.images[:, None], kernel_size=3, padding=1)
        return around.transpose(1, 2).reshape(-1, 8, 8, 9)


def load() -> tuple[Digits, Digits]:
    """Digits to learn from, and others."""
    pixels, labels = load_digits(return_X_y=True)
    images, numbers = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 8, 8) / 16, torch.tensor(labels)
    split = train_test_split(images, numbers, test_size=0.2, random_state=0, stratify=labels)
    return Digits(split[0], split[2]), Digits(split[1], split[3])


def answers(model: torch.nn.Module, digits: Digits) -> torch.Tensor:
    """How likely each digit is, as each place has it: [n, 8, 8, 10]."""
    with torch.no_grad():
        return model(pixels=digits.pixels).outputs["scores"].softmax(-1)


def accuracy(model: torch.nn.Module, digits: Digits) -> float:
    """The share of digits that the last place tells right."""
    return float((answers(model, digits)[:, -1, -1].argmax(-1) == digits.labels).float().mean())


def train(name: str, known: Digits, unseen: Digits, epochs: int) -> tuple[torch.nn.Module, list[float]]:
    """A trained cell, and its accuracy on unseen digits after each pass."""
    model = lsrl.torch.Module(lsrl.load(PROGRAM, cell=name))
    pairs = torch.utils.data.TensorDataset(known.pixels, known.labels)
    batches = torch.utils.data.DataLoader(pairs, BATCH, shuffle=True)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * len(batches))
    curve = []
    for _ in track(range(epochs), description=CELLS[name]):
        for pixels, labels in batches:
            loss = torch.nn.functional.cross_entropy(model(pixels=pixels).outputs["scores"][:, -1, -1], labels)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        curve.append(accuracy(model, unseen))
    return model, curve


def linear_accuracy(known: Digits, unseen: Digits) -> float:
    """What logistic regression of all pixels achieves."""
    fitted = LogisticRegression(max_iter=1000).fit(known.images.flatten(1), known.labels)
    return float(fitted.score(unseen.images.flatten(1), unseen.labels))


def plot(curves: dict[str, list[float]], models: dict[str, torch.nn.Module], unseen: Digits, path: Path) -> None:
    """Accuracy after each pass, and for some digits how sure each place is of the right answer."""
    shown = [int((unseen.labels == digit).nonzero()[0]) for digit in (0, 3, 4, 7)]
    figure = plt.figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    axis = left.subplots()
    for name, curve in curves.items():
        axis.plot(range(1, len(curve) + 1), [100 * share for share in curve], label=CELLS[name])
    axis.set(xlabel="passes", ylabel="unseen digits told right, %", ylim=(None, 100))
    axis.legend()
    grid = right.subplots(1 + len(models), len(shown))
    for axis, number in zip(grid[0], shown):
        axis.imshow(unseen.images[number], cmap="gray_r")
    for row, (name, model) in zip(grid[1:], models.items()):
        sure = answers(model, Digits(unseen.images[shown], unseen.labels[shown]))
        for axis, places, label in zip(row, sure, unseen.labels[shown]):
            axis.imshow(places[..., label], vmin=0, vmax=1)
        row[0].set_ylabel(CELLS[name])
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
    right.suptitle("how sure each place is of the right answer", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="25 passes over the digits instead of 100")
    parser.add_argument("--epochs", type=int, help="number of passes")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="DIR", help="where the plot goes")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the arrays are small: threads would wait for each other
    known, unseen = load()
    epochs = options.epochs or (25 if options.quick else 100)
    trained = {name: train(name, known, unseen, epochs) for name in CELLS}
    curves = {name: curve for name, (_, curve) in trained.items()}

    options.output.mkdir(parents=True, exist_ok=True)
    plot(curves, {name: model for name, (model, _) in trained.items()}, unseen, options.output / "digits_grid.png")
    print(f"{100 * linear_accuracy(known, unseen):.1f}% of {len(unseen.labels)} unseen digits: logistic regression")
    for name, curve in curves.items():
        print(f"{100 * curve[-1]:.1f}%: {CELLS[name]}")
    print(f"plot: {options.output / 'digits_grid.png'}")


if __name__ == "__main__":
    main()
