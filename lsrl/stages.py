"""The stages between a program and code, in order.

text -> syntax tree -> graph          lsrl.parser, lsrl.elaborate (behind `Program.cell`)
graph -> simpler graph -> plan        `make`, below
plan -> text                          `write`, below
text -> functions                     the engines
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lsrl.backends.emit_cpu import emit_cpu
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.jax_graph import emit_jax_graph
from lsrl.backends.torch_graph import emit_torch_graph
from lsrl.ir.cell import GRAPH, Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.graph_plan import GraphPlan, make_graph_plan
from lsrl.ir.lattice import along_one_axis, is_grid
from lsrl.ir.laws import simplify
from lsrl.ir.laws_graph import small_products
from lsrl.ir.plan import Loop, Plan, make_plan
from lsrl.ir.products import fuse_products, split_products
from lsrl.ir.schedules.cost import Run
from lsrl.ir.schedules.forms import Form
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_form_parts import GridForm, LayeredForm
from lsrl.ir.schedules.how import Chunk, Dag, How, Newton, Quadratic, Rounds, Scan, Sequential, Tiles, Tree
from lsrl.ir.schedules.legal import Possible, possible
from lsrl.ir.schedules.line_form import LineForm
from lsrl.schedule import AUTO, SEQUENTIAL, Schedule, ScheduleError, resolve

DEFAULT_DTYPES = {"jax": "float32", "triton": "float32", "cpu": "float32", "reference": "float64"}
EXACT = "exact"
DTYPES = ("float32", "float64", "bfloat16", "float16", EXACT)


class TargetError(Refusal):
    """A target that there is not, or that cannot hold the program."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan with the graphs on the way to it.

    Attributes:
        simple: rewritten by exact laws.
        split: products distributed over what mixes values with and without state.
        plan: of the graph with products that share an operand fused.
        recurrences: of that graph, and what every schedule says to them.
        schedule: how they run.
    """

    simple: Cell
    split: Cell
    plan: Plan
    recurrences: tuple[Possible, ...]
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class MadeGraph:
    """The plan of a cell over a graph; the attributes are those of `Made`."""

    plan: GraphPlan
    recurrences: tuple[Possible, ...]
    schedule: Schedule


AnyMade = Made | MadeGraph


@dataclass(frozen=True, slots=True)
class Taste:
    """What a target likes: JAX large operations over all positions, a Triton kernel work that stays in its loop.

    Attributes:
        schedules: that it has.
        inline: those that are one operation on whole sequences.
        on_lines: those that are one operation on the lines of a grid.
        device: what it is taken to run on where nobody tells.
        grids: the forms of recurrences that it runs over grids.
    """

    hoists_elementwise: bool
    fuses_in_loops: bool
    schedules: tuple[type[How], ...]
    inline: tuple[type[How], ...]
    on_lines: tuple[type[How], ...]
    device: str
    grids: tuple[type[Form], ...]


EVERYTHING: tuple[type[How], ...] = (Sequential, Scan, Chunk, Newton, Quadratic, Dag)
ON_GRIDS: tuple[type[How], ...] = (Tiles, Tree)
ON_GRAPHS: tuple[type[How], ...] = (Dag, Rounds)
TASTES = {
    "jax": Taste(
        True,
        True,
        schedules=(*EVERYTHING, *ON_GRIDS),
        inline=(Scan, Chunk, Quadratic, *ON_GRIDS),
        on_lines=(Scan, Chunk, Quadratic),
        device="cpu",
        grids=(GridForm, LayeredForm, ElementForm, LineForm),
    ),
    "triton": Taste(
        False,
        False,
        schedules=(*EVERYTHING, *ON_GRIDS),
        inline=(Chunk, Quadratic, *ON_GRIDS),
        on_lines=(Scan, Chunk, Quadratic),
        device="h100",
        grids=(GridForm, LayeredForm, ElementForm, LineForm),
    ),
    "cpu": Taste(
        False,
        False,
        schedules=(*EVERYTHING, *ON_GRIDS),
        inline=(Chunk, Quadratic, *ON_GRIDS),
        on_lines=(Scan, Chunk, Quadratic),
        device="cpu",
        grids=(GridForm, LayeredForm, ElementForm, LineForm),
    ),
}


def check_target(target: str, dtype: str | None) -> None:
    """Refuse targets and types that there are not.

    Raises:
        TargetError: says which there are.
    """
    if target not in DEFAULT_DTYPES:
        raise TargetError(f"there is no target `{target}`; there are {', '.join(DEFAULT_DTYPES)}")
    if dtype is not None and dtype not in DTYPES:
        raise TargetError(f"there is no dtype `{dtype}`; there are {', '.join(DTYPES)}")
    if target != "reference" and dtype == EXACT:
        raise TargetError("exact results are those of the reference; other targets compute in floating point")
    if target == "reference" and dtype == "bfloat16":
        raise TargetError("the reference computes in NumPy, which has no bfloat16")


def make(cell: Cell, sizes: Mapping[str, int], target: str, schedule: str = SEQUENTIAL, run: Run | None = None) -> Made:
    """The plan of a cell over time or a grid for a target; `make_graph` is for graphs.

    Args:
        schedule: as `lsrl.schedule.resolve` reads it.
        run: what `auto` reckons with; None is the target's own device with the batch and length of `Run`.

    Raises:
        PipelineError: forward and reversed states need each other.
        HowError, ScheduleError: the schedule makes no sense, or does not serve a recurrence.
    """
    taste = TASTES[target]
    simple = simplify(along_one_axis(cell))
    split = split_products(simple)
    fused = fuse_products(split, in_loops=taste.fuses_in_loops)
    found = possible(fused, sizes, taste.schedules, taste.grids)
    chosen = resolve(fused, found, schedule, run or assumed_run(target, DEFAULT_DTYPES[target]))
    inline = {*taste.inline, *(taste.on_lines if is_grid(fused) else ())}
    plan = make_plan(fused, sizes, hoist_elementwise=taste.hoists_elementwise, hows=chosen.hows, inline=inline)
    return Made(simple, split, plan, found, chosen)


def make_graph(cell: Cell, sizes: Mapping[str, int], target: str, schedule: str = AUTO) -> MadeGraph:
    """The plan of a cell over a graph: all recurrences run level by level, or all are one system solved in rounds.

    Raises:
        GraphPlanError: the states have no levels.
        HowError, ScheduleError: another schedule is asked for, or one for some states and another for others.
    """
    simple = small_products(simplify(cell))
    found = possible(simple, sizes, ON_GRAPHS)
    chosen = resolve(simple, found, schedule, assumed_run(target, DEFAULT_DTYPES[target]))
    ways = {type(how) for how in chosen.hows.values()}
    if len(ways) > 1:
        raise ScheduleError(f"`{chosen}`: over a graph all states run by `dag(rounds)`, as one system, or all by `dag`")
    return MadeGraph(make_graph_plan(simple, sizes, rounds=Rounds in ways), found, chosen)


def made(cell: Cell, sizes: Mapping[str, int], target: str, schedule: str = AUTO, run: Run | None = None) -> AnyMade:
    """The plan of any cell for a target; what it raises `make` and `make_graph` say."""
    if cell.axes == (GRAPH,):
        return make_graph(cell, sizes, target, schedule)
    return make(cell, sizes, target, schedule, run)


def assumed_run(
    target: str, dtype: str, device: str | None = None, batch: int | None = None, length: int | None = None
) -> Run:
    """What `auto` reckons with, where nobody tells the target's own device, and a batch and length."""
    found = Run(target, device or TASTES[target].device, dtype)
    return replace(found, batch=batch or found.batch, length=found.length if length is None else length)


def reference_schedule(cell: Cell, sizes: Mapping[str, int], text: str) -> Schedule:
    """The schedule of the reference, which runs position after position.

    Raises:
        HowError, ScheduleError: anything else is asked for.
    """
    return resolve(cell, possible(cell, sizes, (Sequential,)), text)


def write(
    plan: Plan | GraphPlan, target: str, dtype: str, source_name: str, command: str, *, gradients: bool = True
) -> str:
    """The text of a standalone module that runs a plan.

    Args:
        gradients: whether its loops have a backward pass; without one, JAX derives it when asked.
    """
    match target, plan:
        case "jax", GraphPlan():
            return emit_jax_graph(plan, dtype, source_name, command, gradients=gradients)
        case _, GraphPlan():
            return emit_torch_graph(plan, dtype, source_name, command, gradients=gradients)
        case "jax", Plan():
            return emit_jax(plan, dtype, source_name, command, gradients=gradients)
        case "cpu", Plan():
            return emit_cpu(plan, dtype, source_name, command, gradients=gradients)
        case _, Plan():
            return emit_triton(plan, dtype, source_name, command, gradients=gradients)


def ways(plan: Plan, target: str, dtype: str) -> dict[tuple[str, ...], str]:
    """How a target runs each loop of a plan, in words, by the names of the loop's states."""
    loops = [stage for stage in plan.stages if isinstance(stage, Loop)]
    if target == "jax":
        as_one = [plan.beside(loop) for loop in loops]
        told = [", ".join(filter(None, ("one `lax.scan`", each.in_words))) for each in as_one]
        return {tuple(each.names.split(", ")): words for each, words in zip(as_one, told, strict=True)}
    for node in ast.parse(write(plan, target, dtype, "", "")).body:
        match node:
            case ast.Assign([ast.Name("SCHEDULE")], value):
                return {tuple(names.split(", ")): way for names, way in ast.literal_eval(value).items()}
    return {}
