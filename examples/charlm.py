"""Train the language model of charlm.lsrl on CPython's own documentation, then let it write, character by character.

    python examples/charlm.py --quick -o build/demo
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from rich.progress import track

import lsrl

Tree = dict[str, jax.Array]
Moments = tuple[Tree, Tree]

BATCH, LENGTH = 32, 96  # streams of text read side by side, and characters between two updates
TEXT = "\n\n".join(topics[name] for name in sorted(topics))
ALPHABET = sorted(set(TEXT))
CODES = np.array([ALPHABET.index(character) for character in TEXT])
TRAINING, HELD_OUT = np.split(CODES, [len(CODES) * 9 // 10])

MODEL = lsrl.compile(lsrl.load(Path(__file__).with_name("charlm.lsrl")), target="jax", sizes={"V": len(ALPHABET)})


def pieces(codes: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Endlessly the next piece of every stream, [BATCH, length + 1]: its last character is the next one's first."""
    streams = codes[: len(codes) // BATCH * BATCH].reshape(BATCH, -1)
    while True:
        for start in range(0, streams.shape[1] - length, length):
            yield streams[:, start : start + length + 1]


def loss(params: Tree, piece: jax.Array, state: Tree) -> tuple[jax.Array, Tree]:
    """Bits per character, and the state in which the next piece goes on."""
    result = MODEL(params, {"character": piece[:, :-1]}, state)
    likelihood = jnp.take_along_axis(jax.nn.log_softmax(result.outputs["logits"]), piece[:, 1:, None], axis=-1)
    return -likelihood.mean() / jnp.log(2), result.state


@jax.jit
def update(
    params: Tree, moments: Moments, step: int, rate: float, piece: jax.Array, state: Tree
) -> tuple[Tree, Moments, Tree, jax.Array]:
    """One step of Adam (Kingma and Ba, 2015) on one piece; gradients end at its border."""
    (bits, state), gradient = jax.value_and_grad(loss, has_aux=True)(params, piece, state)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda m, g: 0.98 * m + 0.02 * g * g, moments[1], gradient)
    scale = rate * jnp.sqrt(1 - 0.98**step) / (1 - 0.9**step)
    params = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) + 1e-8), params, first, second)
    return params, (first, second), state, bits


def train(steps: int) -> tuple[Tree, list[float]]:
    """The learned parameters, and the bits per character at each step."""
    params = MODEL.init(seed=0)
    state = MODEL.initial_state(params, BATCH)
    moments = (jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))
    curve = []
    for step, piece in zip(track(range(1, steps + 1), description="training"), pieces(TRAINING, LENGTH)):
        rate = 0.01 * min(1, step / 20, 2 * (1 - step / (steps + 1)))
        params, moments, state, bits = update(params, moments, step, rate, piece, state)
        curve.append(float(bits))
    return params, curve


def held_out_bits(params: Tree) -> float:
    """Bits per character of text not trained on."""
    piece = next(pieces(HELD_OUT, len(HELD_OUT) // BATCH - 1))
    return float(jax.jit(loss)(params, piece, MODEL.initial_state(params, BATCH))[0])


def counting_bits(order: int) -> float:
    """What counting characters (order 1) or pairs of them (order 2) in the training text achieves on the held-out."""

    def grams(codes: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(codes[place : len(codes) - order + 1 + place] for place in range(order))

    counts = np.full((len(ALPHABET),) * order, 0.1)  # a little for what never occurs
    np.add.at(counts, grams(TRAINING), 1)
    return -float(np.log2(counts / counts.sum(axis=-1, keepdims=True))[grams(HELD_OUT)].mean())


def write(params: Tree, start: str, length: int) -> str:
    """Text that begins with `start`, drawn one character at a time: the streaming form of the same program."""
    step = jax.jit(MODEL.step)
    state, text, generator = MODEL.initial_state(params, 1), start, np.random.default_rng(0)
    for place in range(len(start) + length - 1):
        result = step(params, {"character": jnp.array([ALPHABET.index(text[place])])}, state)
        state = result.state
        if place + 1 == len(text):
            chances = np.asarray(jax.nn.softmax(result.outputs["logits"][0] / 0.7), dtype=float)
            text += ALPHABET[generator.choice(len(ALPHABET), p=chances / chances.sum())]
    return text


def plot(curve: list[float], levels: dict[str, float], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(curve, color="tab:blue", linewidth=0.8, alpha=0.4)
    window = min(21, len(curve))
    smooth = np.convolve(curve, np.full(window, 1 / window), mode="valid")
    axes.plot(window // 2 + np.arange(len(smooth)), smooth, color="tab:blue", label="training")
    for (name, bits), style in zip(levels.items(), (":", "--", "-")):
        axes.axhline(bits, color="black", linestyle=style, linewidth=1, label=f"{name}, held-out: {bits:.2f}")
    axes.set(xlabel="update", ylabel="bits per character", ylim=(0, None), title="charlm.lsrl")
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 updates instead of 3000")
    parser.add_argument("--steps", type=int, help="number of updates")
    parser.add_argument("-o", "--output", type=Path, default=Path("."), metavar="DIR", help="where results go")
    options = parser.parse_args()

    params, curve = train(options.steps or (400 if options.quick else 3000))
    levels = {"single characters": counting_bits(1), "pairs of characters": counting_bits(2)}
    levels["this program"] = held_out_bits(params)

    options.output.mkdir(parents=True, exist_ok=True)
    plot(curve, levels, options.output / "charlm.png")
    text = write(params, "The ", 600)
    (options.output / "charlm.txt").write_text(text + "\n")
    print(f"\nIt writes:\n\n{text}\n")
    for name, bits in levels.items():
        print(f"{bits:.2f} bits per character on held-out text: {name}")
    print(f"loss curve: {options.output / 'charlm.png'}")


if __name__ == "__main__":
    main()
