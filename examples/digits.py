"""Train the reader of digits.lsrl on scikit-learn's handwritten digits: a PyTorch module, fed one row at a time.

    python examples/digits.py --quick -o build/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from rich.progress import track
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

import lsrl
import lsrl.torch

BATCH = 64


def load_rows() -> list[torch.Tensor]:
    """Training images, test images [B, 8 rows, 8 pixels in 0..1], and the labels of both [B]."""
    images, labels = load_digits(return_X_y=True)
    rows = torch.tensor(images, dtype=torch.float32).reshape(-1, 8, 8) / 16
    return train_test_split(rows, torch.tensor(labels), test_size=0.2, random_state=0, stratify=labels)


def train(model: torch.nn.Module, rows: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    """Every row's guess counts, so that the model answers as early as it can."""
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, labels), BATCH, shuffle=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=epochs * len(batches))
    for _ in track(range(epochs), description="training"):
        for batch, targets in batches:
            scores = model(row=batch).outputs["scores"]
            loss = torch.nn.functional.cross_entropy(scores.transpose(1, 2), targets[:, None].expand(-1, 8))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def plot(accuracy: torch.Tensor, guesses: torch.Tensor, labels: torch.Tensor, path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 4), layout="constrained")
    left.plot(range(1, 9), 100 * accuracy, marker="o")
    left.set(xlabel="rows read", ylabel="correct guesses, %", ylim=(0, 100), title="an answer after every row")
    ConfusionMatrixDisplay.from_predictions(labels, guesses, ax=right, colorbar=False, cmap="Blues")
    right.set_title("after the last row")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 passes over the training images instead of 100")
    parser.add_argument("--epochs", type=int, help="number of passes")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="DIR", help="where the plot goes")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the arrays are small: threads would wait for each other
    training_rows, test_rows, training_labels, test_labels = load_rows()
    model = lsrl.torch.Module(lsrl.load(Path(__file__).with_name("digits.lsrl")))
    train(model, training_rows, training_labels, options.epochs or (30 if options.quick else 100))

    with torch.no_grad():
        guesses = model(row=test_rows).outputs["scores"].argmax(dim=-1)
    accuracy = (guesses == test_labels[:, None]).float().mean(dim=0)
    options.output.mkdir(parents=True, exist_ok=True)
    plot(accuracy, guesses[:, -1], test_labels, options.output / "digits.png")
    print(" ".join(f"{100 * share:.1f}%" for share in accuracy), "correct after 1 to 8 rows of unseen images")
    print(f"plot: {options.output / 'digits.png'}")


if __name__ == "__main__":
    main()
