"""The stages between a program and code, in order.

    text -> syntax tree -> graph          lsrl.parser, lsrl.elaborate (behind `Program.cell`)
    graph -> simpler graph -> plan        `make`, below
    plan -> text                          `write`, below
    text -> functions                     the engines
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.emit_triton import emit_triton
from lsrl.ir.cell import TIME, Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.laws import simplify
from lsrl.ir.plan import Loop, Plan, make_plan
from lsrl.ir.products import fuse_products, split_products

DEFAULT_DTYPES = {"jax": "float32", "triton": "float32", "reference": "float64"}
DTYPES = ("float32", "float64", "bfloat16", "float16")


class TargetError(Refusal):
    """A target that there is not, or that cannot hold the program."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan with the graphs on the way to it.

    Attributes:
        simple: rewritten by exact laws.
        split: products distributed over what mixes values with and without state.
        plan: of the graph with products that share an operand fused.
    """

    simple: Cell
    split: Cell
    plan: Plan


@dataclass(frozen=True, slots=True)
class Taste:
    """What a target likes: JAX large operations over all positions, a Triton kernel work that stays in its loop."""

    hoists_elementwise: bool
    fuses_in_loops: bool


TASTES = {"jax": Taste(hoists_elementwise=True, fuses_in_loops=True), "triton": Taste(False, False)}


def check_target(target: str, dtype: str | None) -> None:
    """Refuse targets and types that there are not.

    Raises:
        TargetError: says which there are.
    """
    if target not in DEFAULT_DTYPES:
        raise TargetError(f"there is no target `{target}`; there are {', '.join(DEFAULT_DTYPES)}")
    if dtype is not None and dtype not in DTYPES:
        raise TargetError(f"there is no dtype `{dtype}`; there are {', '.join(DTYPES)}")
    if target == "reference" and dtype == "bfloat16":
        raise TargetError("the reference computes in NumPy, which has no bfloat16")


def make(cell: Cell, sizes: Mapping[str, int], target: str) -> Made:
    """The plan of a cell for a target.

    Raises:
        TargetError: the target runs sequences only.
        PipelineError: forward and reversed states need each other.
    """
    if cell.axes != (TIME,):
        raise TargetError(
            f"{cell.name} runs over {', '.join(cell.axes)}; the target {target} runs sequences only so far, "
            f"the target reference runs every program"
        )
    taste = TASTES[target]
    simple = simplify(cell)
    split = split_products(simple)
    fused = fuse_products(split, in_loops=taste.fuses_in_loops)
    return Made(simple, split, make_plan(fused, sizes, hoist_elementwise=taste.hoists_elementwise))


def write(plan: Plan, target: str, dtype: str, source_name: str, command: str, *, gradients: bool = True) -> str:
    """The text of a standalone module that runs a plan.

    Args:
        gradients: whether it has a backward pass; a JAX module always has, since JAX derives it.
    """
    match target:
        case "jax":
            return emit_jax(plan, dtype, source_name, command)
        case _:
            return emit_triton(plan, dtype, source_name, command, gradients=gradients)


def ways(plan: Plan, target: str, dtype: str) -> dict[tuple[str, ...], str]:
    """How a target runs each loop of a plan, in words, by the names of the loop's states."""
    loops = [stage for stage in plan.stages if isinstance(stage, Loop)]
    if target == "jax":
        return {tuple(state.name for state in loop.states): "one `lax.scan`" for loop in loops}
    for node in ast.parse(emit_triton(plan, dtype)).body:
        match node:
            case ast.Assign([ast.Name("SCHEDULE")], value):
                return {tuple(names.split(", ")): way for names, way in ast.literal_eval(value).items()}
    return {}
