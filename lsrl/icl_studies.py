"""The experiments on approximation itself: functions, tables, precision and speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from lsrl import icl
from lsrl.backends.arrays import Array
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.icl_functions import Example, random_words
from lsrl.icl_prompts import Grid, Table
from lsrl.icl_published import CONDITIONALS
from lsrl.icl_runners import Means, Runner
from lsrl.icl_sweeps import Entry, Row, Sweep

PROGRAM = "program"
ANSWERING: Mapping[str, Means] = {
    PROGRAM: Means(),
    **{target: Means(target=target) for target in ("jax", "triton")},
    **{f"published {conditional}": Means(conditional=conditional) for conditional in CONDITIONALS},
    **{arch: Means(arch) for arch in ARCHITECTURES},
}
"""All that can answer a prompt, in float32."""

_NAMES = {means: name for name, means in ANSWERING.items()}

SECONDS = 0.5
"""How long a speed is measured, about."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of tables of random words."""

    tokens: int
    pairs: int
    vocabulary: int

    def __str__(self) -> str:
        return f"{self.pairs} words of {self.tokens} of {self.vocabulary} tokens"

    def table(self, seed: int) -> Table:
        words = random_words(seed, self.pairs, self.tokens, self.vocabulary)
        return Table({tuple(key): tuple(value) for key, value in words.tolist()})


def approximate_sweep(
    name: str,
    example: Example,
    resolutions: Sequence[int],
    means: Sequence[Means],
    queries: int = 256,
    seeds: int = 1,
) -> Sweep:
    """How far a function is approximated, by the resolution of its prompt; a seed draws the queries."""
    settings = tuple(
        {"function": name, "resolution": resolution, "queries": queries, **_columns(each)}
        for resolution in resolutions
        for each in means
    )

    def measure(setting: Row, draws: Sequence[Row]) -> Iterator[list[Row]]:
        runner, grid, values = _approximator(example, int(setting["resolution"]), _means(setting))
        for draw in draws:
            yield [_distances(runner, grid, values, example, queries, int(draw["seed"]))]

    columns = ("positions", "largest", "mean", "lipschitz", "bound")
    return Sweep("approximate", settings, _seeds(seeds), columns, measure)


def _approximator(example: Example, resolution: int, means: Means) -> tuple[Runner, Grid, Array]:
    """What runs an example, its grid, and the function's values there [cells, E]."""
    found = icl.approximate(
        example.function,
        example.lower,
        example.upper,
        resolution,
        arch=means.arch,
        target=means.target,
        dtype=means.dtype,
        conditional=means.conditional,
        queries=1,
    )
    return found.runner, found.grid, found.values


def _distances(runner: Runner, grid: Grid, values: Array, example: Example, queries: int, seed: int) -> Row:
    points = np.random.default_rng(seed).uniform(grid.lower, grid.upper, (queries, grid.dimension))
    off = np.linalg.norm(icl.answers(runner, grid, values, points) - example.function(points), axis=-1)
    constant = math.nan if example.lipschitz is None else example.lipschitz
    bound = constant * grid.radius + runner.deviation * math.sqrt(values.shape[1])
    return {
        "positions": grid.length,
        "largest": float(off.max()),
        "mean": float(off.mean()),
        "lipschitz": constant,
        "bound": bound,
    }


def tokens_sweep(tables: Mapping[str, Callable[[int], Table]], means: Sequence[Means], seeds: int = 1) -> Sweep:
    """How many tokens of tables are translated wrong; a seed makes the table."""
    settings = tuple({"table": name, **_columns(each)} for name in tables for each in means)

    def measure(setting: Row, draws: Sequence[Row]) -> Iterator[list[Row]]:
        make = tables[str(setting["table"])]
        for draw in draws:
            yield [_translated(make(int(draw["seed"])), _means(setting))]

    return Sweep("tokens", settings, _seeds(seeds), ("positions", "wrong"), measure)


def _translated(table: Table, means: Means) -> Row:
    found = _translation(table, means)
    return {"positions": table.length * (1 + 2 * len(table.words)), "wrong": 100 * found.wrong}


def _translation(table: Table, means: Means) -> icl.Translation:
    return icl.tokens(
        table.words, arch=means.arch, target=means.target, dtype=means.dtype, conditional=means.conditional
    )


def precision_sweep(
    name: str, example: Example, resolution: int, sizes: Sizes, means: Sequence[Means], seeds: int = 1
) -> Sweep:
    """How much the precision costs: both programs against what they should say, not against a function."""
    tasks = {"vec2vec": f"{name} in {resolution} cells", "tok2tok": str(sizes)}
    settings = tuple({"task": task, "of": what, **_columns(each)} for task, what in tasks.items() for each in means)

    def measure(setting: Row, draws: Sequence[Row]) -> Iterator[list[Row]]:
        off = _off_words if setting["task"] == "tok2tok" else _off_cells
        for draw in draws:
            yield [{"off": off(_means(setting), int(draw["seed"]))}]

    def _off_words(means: Means, seed: int) -> float:
        return 100 * _translation(sizes.table(seed), means).wrong

    def _off_cells(means: Means, seed: int) -> float:
        return _off(*_approximator(example, resolution, means), seed)

    return Sweep("precision", settings, _seeds(seeds), ("off",), measure)


def _off(runner: Runner, grid: Grid, values: Array, seed: int) -> float:
    """The largest distance from the value of the cell that a query is in."""
    points = np.random.default_rng(seed).uniform(grid.lower, grid.upper, (256, grid.dimension))
    off = np.linalg.norm(icl.answers(runner, grid, values, points) - grid.lookup(values, points), axis=-1)
    return float(off.max())


def scaling_sweep(tables: Sequence[Sizes], batch: int, means: Sequence[Means]) -> Sweep:
    """Size, compile time and speed of token matching, by the sizes of tables."""
    settings = tuple({**asdict(sizes), "batch": batch, **_columns(each)} for sizes in tables for each in means)

    def measure(setting: Row, draws: Sequence[Row]) -> Iterator[list[Row]]:
        for draw in draws:
            sizes = Sizes(int(setting["tokens"]), int(setting["pairs"]), int(setting["vocabulary"]))
            table = sizes.table(int(draw["seed"]))
            yield [_speed(table, batch, _means(setting))]

    columns = ("positions", "depth", "width", "parameters", "compile_seconds", "positions_per_second")
    return Sweep("scaling", settings, _seeds(1), columns, measure)


def _speed(table: Table, batch: int, means: Means) -> Row:
    begin = time.perf_counter()
    found = _translation(table, means)
    compiling = time.perf_counter() - begin
    prompts = table.prompts(np.resize(table.pairs[:, 0], (batch, table.length)))
    best, spent = math.inf, 0.0
    while spent < SECONDS:
        begin = time.perf_counter()
        found.runner.run(prompts)
        seconds = time.perf_counter() - begin
        best, spent = min(best, seconds), spent + seconds
    report = None if found.runner.compiled is None else found.runner.compiled.report
    return {
        "positions": prompts["x"].shape[1],
        "depth": 0 if report is None else report.depth,
        "width": 0 if report is None else report.width,
        "parameters": 0 if report is None else report.parameters,
        "compile_seconds": compiling,
        "positions_per_second": prompts["x"].size / best,
    }


def all_means(archs: Sequence[str], dtypes: Sequence[str]) -> tuple[Means, ...]:
    """Each of `ANSWERING` in every type."""
    return tuple(_means({"arch": arch, "dtype": dtype}) for arch in archs for dtype in dtypes)


def _columns(means: Means) -> dict[str, Entry]:
    return {"arch": _NAMES[replace(means, dtype=Means().dtype)], "dtype": means.dtype}


def _means(setting: Row) -> Means:
    return replace(ANSWERING[str(setting["arch"])], dtype=str(setting["dtype"]))


def _seeds(count: int) -> tuple[Row, ...]:
    return tuple({"seed": seed} for seed in range(count))
