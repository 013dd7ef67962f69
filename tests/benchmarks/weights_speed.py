"""Tokens per second of compiled token matching (`std/exact/tok2tok`, T = 3), and how long compiling takes.

    python tests/benchmarks/weights_speed.py [--original CHECKOUT --original-python PYTHON] [-o FILE.json]

Each way answers 25 queries about 25 random words, repeated up to the batch, and must have every answer right before it
is timed.  With a checkout of the original interpreter, that runs as well (see `original_lsrl.py`), in a Python that has
what it needs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import jax
import numpy as np
import torch

import lsrl
from lsrl import weights
from lsrl.measure import in_turns, machine

HERE = Path(__file__).parent
PROGRAM = "std/exact/tok2tok"
T, V, PAIRS = 3, 10, 25
BATCHES = (1, 4096)
NETWORKS = ("linear-rnn", "rnn", "lstm")
LENGTHS = (3, 10, 32)
PACKAGES = ("torch", "jax", "numpy")

Call = Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second, the median of some rounds, and its quartiles."""

    way: str
    batch: int
    tokens: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Compiled:
    """A network for words of T tokens: seconds of processor time that compiling it took, and its size."""

    T: int
    architecture: str
    seconds: float
    depth: int
    width: int
    parameters: int


def prompts(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """A word and a dictionary that has it, [batch, tokens], and what the word stands for, [batch, T]."""
    generator = np.random.default_rng(0)
    every = generator.permutation(V**T)[:PAIRS]
    words = np.stack([every // V**place % V for place in range(T)], -1)
    values = generator.integers(0, V, (PAIRS, T))
    dictionary = np.stack([words, values], 1).reshape(-1)
    asked = np.concatenate([words, np.tile(dictionary, (PAIRS, 1))], 1)
    return np.resize(asked, (batch, asked.shape[1])), np.resize(values, (batch, T))


def ways(batch: int) -> Iterator[tuple[str, Call]]:
    """Outputs [batch, tokens] by each way."""
    asked, _ = prompts(batch)
    program = lsrl.load(PROGRAM)
    module = lsrl.compile(program, target="jax")
    run = jax.jit(lambda x: module({}, {"x": x}).outputs["y"])
    tokens = asked.astype(np.int32)
    yield "the program, in JAX", lambda: np.asarray(run(tokens))
    for architecture in NETWORKS:
        network = weights.compile(program, architecture, horizon=asked.shape[1]).module
        x = torch.tensor(asked[..., None], dtype=torch.float32)
        yield f"{architecture}, in torch", lambda network=network, x=x: _run(network, x)


def _run(network: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = network(x)[..., 0].numpy()
    return found


def speeds(batch: int, seconds: float) -> Iterator[Speed]:
    """Every way, in turns.

    Raises:
        RuntimeError: a way has a wrong answer.
    """
    asked, values = prompts(batch)
    chosen = dict(ways(batch))
    for way, call in chosen.items():
        if (call()[:, -T:] != values).any():
            raise RuntimeError(f"{way} has wrong answers")
    for way, timing in in_turns(chosen, seconds, most=10).items():
        rates = (asked.size / each for each in (timing.median, timing.upper, timing.lower))
        yield Speed(way, batch, *(float(f"{rate:.3g}") for rate in rates))


def compiled() -> Iterator[Compiled]:
    """How long compiling takes, checks and all."""
    for length in LENGTHS:
        begin = process_time()
        found = weights.compile(lsrl.load(PROGRAM), "rnn", {"T": length}, horizon=2048)
        seconds = round(process_time() - begin, 2)
        report = found.report
        yield Compiled(length, "rnn", seconds, report.depth, report.width, report.parameters)


def original(checkout: Path, python: str) -> Mapping[str, float]:
    words = [python, str(HERE / "original_lsrl.py"), str(checkout)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way, about")
    parser.add_argument("--original", type=Path, metavar="CHECKOUT", help="of the original interpreter")
    parser.add_argument("--original-python", default="python3", metavar="PYTHON", help="what runs it")
    parser.add_argument("-o", type=Path, default=HERE / "results" / "weights_speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [speed for batch in BATCHES for speed in speeds(batch, options.seconds)]
    for speed in found:
        print(f"{speed.way:<24} batch {speed.batch:>5}  {speed.tokens:>14,.0f} tokens/s")
    built = list(compiled())
    for each in built:
        print(f"T={each.T:<3} {each.seconds:>6} s  depth {each.depth}, width {each.width}")
    rows = {"speeds": [asdict(each) for each in found], "compiled": [asdict(each) for each in built]}
    results = {"machine": machine(*PACKAGES), **rows}
    if options.original:
        results["original"] = dict(original(options.original, options.original_python))
        print(results["original"])
    options.o.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
