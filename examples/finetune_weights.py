"""Initialise a network from a program, then fine-tune it on a task that the program was not written for.

    python examples/finetune_weights.py -o build/demo

The program looks a key up in a table of pairs that is in the prompt (`std/exact/tok2tok`).  It was written for whole
numbers; here all numbers come with noise.  Its network, a stack of `torch.nn.RNN`, learns to be tolerant, and so do its
LSTM and its GRU, compiled with gates that are not saturated (`gate_scale`).  The same RNN, and a larger LSTM, do not
learn the look-up from random weights by as many steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from rich.progress import track

import lsrl
import lsrl.weights

VALUES = 8
NOISE = 0.15
BATCH = 128
GATES = 9.0
"""Of sigmoid(±9), whose error the program bears and whose gradient is not 0."""

RATE = 2e-4
SLOWER = 2.0**-9
"""Cells with a tanh carry numbers scaled by about this, and their weights are as small."""


class Lstm(torch.nn.Module):
    """Two layers with a linear read-out, ten times as many weights as the compiled network."""

    def __init__(self, hidden: int = 40) -> None:
        super().__init__()
        self.rnn = torch.nn.LSTM(1, hidden, 2, batch_first=True)
        self.readout = torch.nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.rnn(x)
        return self.readout(hidden)


def prompts(count: int, noise: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A query, then all keys with a value each, [count, T, 1]; and the value that belongs to the query, [count]."""
    keys = torch.rand(count, VALUES, generator=generator).argsort(1)
    values = torch.randint(VALUES, (count, VALUES), generator=generator)
    asked = torch.randint(VALUES, (count, 1), generator=generator)
    table = torch.stack([keys, values], 2).flatten(1)
    tokens = torch.cat([keys.gather(1, asked), table], 1).float()
    noisy = tokens + noise * torch.randn(tokens.shape, generator=generator)
    return noisy[..., None], values.gather(1, asked)[:, 0].float()


def correct(module: torch.nn.Module, noise: float) -> float:
    """The share of answers that round to the right value."""
    x, values = prompts(1024, noise, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (module(x)[:, -1, 0] - values).abs().lt(0.5).float().mean().item()


def train(module: torch.nn.Module, name: str, steps: int, rate: float, slower: float) -> list[tuple[int, float]]:
    """Correct answers after so many steps.  The rate rises slowly: the first steps of Adam are blind to scale.

    For the same reason the recurrent layers have their own rate, `slower` times that of the others.
    """
    generator = torch.Generator().manual_seed(2)
    cells = [weight for key, weight in module.named_parameters() if "rnn." in key]
    others = [weight for key, weight in module.named_parameters() if "rnn." not in key]
    optimiser = torch.optim.Adam([{"params": cells}, {"params": others}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [slower * rate, rate], total_steps=steps, div_factor=100
    )
    curve = [(0, correct(module, NOISE))]
    for step in track(range(1, steps + 1), description=name):
        x, values = prompts(BATCH, NOISE, generator)
        loss = torch.nn.functional.smooth_l1_loss(module(x)[:, -1, 0], values)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(steps // 20, 1) == 0:
            curve.append((step, correct(module, NOISE)))
    return curve


def plot(curves: Mapping[str, list[tuple[int, float]]], path: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = "lsrl"
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name, curve in curves.items():
        steps, shares = zip(*curve)
        axis.plot(steps, [100 * share for share in shares], marker=".", label=name)
    axis.axhline(100 / VALUES, color="0.6", linestyle=":", label="chance")
    axis.set(xlabel="steps of training", ylabel="correct answers, %", ylim=(0, 102))
    axis.legend(loc="center right", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of training, for each network")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="DIR", help="where the plot goes")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the arrays are small: threads would wait for each other
    sizes = {"T": 1, "V": VALUES}
    program = lsrl.load("std/exact/tok2tok")
    compiled = {
        arch: lsrl.weights.compile(program, arch=arch, sizes=sizes, horizon=32, gate_scale=gates)
        for arch, gates in {"rnn": None, "lstm": GATES, "gru": GATES}.items()
    }
    for each in compiled.values():
        print(f"{each.report.summary()}; {100 * correct(each.module, 0):.1f}% correct without noise")
    network = compiled["rnn"].module
    same = type(network)(dict(compiled["rnn"].emitted.config))  # drawn as torch draws it
    runs = {
        "RNN from the program": (network.train(), RATE, 1.0),
        "LSTM from the program": (compiled["lstm"].module.train(), RATE, SLOWER),
        "GRU from the program": (compiled["gru"].module.train(), RATE, SLOWER),
        "the same RNN, random weights": (same, 5e-3, 1.0),
        "LSTM, random weights": (Lstm(), 5e-3, 1.0),
    }
    curves = {name: train(module, name, options.steps, *rates) for name, (module, *rates) in runs.items()}
    for name, curve in curves.items():
        print(f"{name}: {100 * curve[0][1]:.1f}% correct before, {100 * curve[-1][1]:.1f}% after {options.steps} steps")
    options.output.mkdir(parents=True, exist_ok=True)
    plot(curves, options.output / "finetune_weights.svg")
    print(f"plot: {options.output / 'finetune_weights.svg'}")


if __name__ == "__main__":
    mpl.use("svg")
    main()
