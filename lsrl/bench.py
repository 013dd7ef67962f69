"""How long every legal schedule of a program takes on the machine at hand, measured in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsrl import stages
from lsrl.backends.topology import Topology
from lsrl.compiled import Compiled
from lsrl.compiling import compile_program
from lsrl.graph_files import GRAPH_ARRAYS, read_graph
from lsrl.graph_runs import is_over_graph
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.schedules.cost import CHUNKS
from lsrl.ir.schedules.how import Chunk, Dag, How, Newton, Quadratic, Rounds, Scan, Sequential
from lsrl.measure import Timing, in_turns
from lsrl.program import Program
from lsrl.random_arrays import Drawn
from lsrl.tuning import Setting
from lsrl.verify import candidates, case

HOWS: tuple[How, ...] = (Sequential(), Scan(), *map(Chunk, CHUNKS), Newton(), Quadratic())
ON_GRAPHS: tuple[How, ...] = (Dag(), Rounds())
SECONDS = 1.0  # for each schedule and pass, about

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measured:
    """The time of one schedule: of a run, and of a run with all gradients."""

    schedule: str
    forward: Timing
    training: Timing


@dataclass(frozen=True, slots=True)
class Place:
    """What a program is measured on, besides sizes and batch.

    Attributes:
        length: positions, or the nodes of a graph.
        graph: one from a file.
        words: a graph in words.
    """

    length: int
    graph: Topology | None = None
    words: str = ""


def place_of(cell: Cell, path: Path | None, length: int) -> Place:
    """Where a program is measured: over a graph, that of a file or a random one with `length` nodes.

    Raises:
        Refusal: there is a file of a graph, and the program runs over none; or it holds none.
    """
    if not is_over_graph(cell):
        if path is not None:
            raise Refusal(f"{path}: {cell.name} runs over {', '.join(cell.axes)}, not over a graph")
        return Place(length)
    if path is None:
        return Place(length, None, f"a random graph of {length} nodes")
    graph = read_graph(path)
    return Place(graph.nodes, graph, f"{path}, {graph.nodes} nodes, {len(graph.edges)} edges")


def measure(
    program: Program,
    setting: Setting,
    hows: Sequence[How] | None = None,
    seconds: float = SECONDS,
    graph: Topology | None = None,
) -> tuple[Measured, ...]:
    """Every legal schedule of a program, the fastest in training first.

    Args:
        hows: the schedules to try; None for all, chunks in each size that the model weighs.
        graph: what a program over a graph runs on; a random one with `setting.length` nodes without it.

    Raises:
        Refusal: the target cannot hold the program.
    """
    given = case(program, setting.sizes, setting.batch, setting.length, graph=graph)
    found = stages.made(given.cell, given.sizes, setting.target).recurrences
    every = ON_GRAPHS if is_over_graph(given.cell) else HOWS
    forward: dict[str, Call] = {}
    training: dict[str, Call] = {}
    for schedule in map(str, candidates(found, hows or every)):
        compiled = compile_program(program, setting.target, setting.sizes, schedule, setting.dtype)
        forward[schedule], training[schedule] = _calls(compiled, given.arrays, given.told)
    times = in_turns(forward, seconds), in_turns(training, seconds)
    rows = (Measured(name, times[0][name], times[1][name]) for name in forward)
    return tuple(sorted(rows, key=lambda row: row.training.median))


def _calls(compiled: Compiled, arrays: Drawn, told: Mapping[str, Any]) -> tuple[Call, Call]:
    """A run, and its gradients by everything; each returns when its work is done."""
    return (_jax_calls if compiled.target == "jax" else _torch_calls)(compiled, arrays, told)


def _jax_calls(compiled: Compiled, arrays: Drawn, told: Mapping[str, Any]) -> tuple[Call, Call]:
    import jax
    import jax.numpy as jnp

    params, inputs, state = arrays
    graph = {name: array for name, array in inputs.items() if name in GRAPH_ARRAYS}  # it decides what is compiled
    given = jax.tree.map(jnp.asarray, (params, {n: a for n, a in inputs.items() if n not in graph}, state))

    def run(params: Any, inputs: Any, state: Any) -> Any:
        return compiled(params, {**inputs, **graph}, state, **told)

    def gradients(params: Any, inputs: Any, state: Any) -> Any:
        found = compiled.gradients(params, {**inputs, **graph}, state, **told)
        return found.inputs, found.params, found.state

    def done(function: Any) -> Call:
        return lambda: jax.block_until_ready(function(*given))  # type: ignore[no-untyped-call]

    return done(jax.jit(run)), done(jax.jit(gradients))


def _torch_calls(compiled: Compiled, arrays: Drawn, told: Mapping[str, Any]) -> tuple[Call, Call]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    params, inputs, state = ({name: torch.tensor(a, device=device) for name, a in group.items()} for group in arrays)
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None

    def run() -> None:
        with torch.no_grad():
            compiled(params, inputs, state, **told)
        wait()

    def derive() -> None:
        compiled.gradients(params, inputs, state, **told)
        wait()

    return run, derive


def table(rows: Sequence[Measured], setting: Setting, over: str = "") -> str:
    """A line for each schedule: medians with quartiles, and how much slower than the fastest.

    Args:
        over: the graph in words; batch and length without it.
    """
    best = min((row.training.median for row in rows), default=1.0)
    lines = [("schedule", "forward", "with gradients", "slower by")]
    lines += [
        (row.schedule, _time(row.forward), _time(row.training), f"{row.training.median / best:.2f}") for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines)]
    sizes = ", ".join(f"{name}={number}" for name, number in setting.sizes.items())
    over = over or f"batch {setting.batch}, length {setting.length}"
    head = f"{setting.target}, {setting.dtype}, {over}" + (sizes and f"; {sizes}")
    body = ("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)).rstrip() for line in lines)
    return "\n".join([head, *body])


def _time(timing: Timing) -> str:
    """`1.23 ms (1.20 to 1.31)`"""
    return f"{timing.median * 1e3:.3g} ms ({timing.lower * 1e3:.3g} to {timing.upper * 1e3:.3g})"
