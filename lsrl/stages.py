"""The stages between a program and code, in order.

    text -> syntax tree -> graph          lsrl.parse, lsrl.elaborate (behind `Program.cell`)
    graph -> simpler graph -> plan        `make`, below
    plan -> text                          `write`, below
    text -> functions                     the engines
"""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.emit_triton import emit_triton
from lsrl.ir.cell import TIME, Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.laws import simplify
from lsrl.ir.plan import Plan, make_plan
from lsrl.ir.products import fuse_products, split_products

TARGETS = ("jax", "triton", "reference")
DTYPES = ("float32", "float64", "bfloat16", "float16")


class TargetError(Refusal):
    """A target that there is not, or that cannot hold the program."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What a target likes: JAX large operations over all positions, a Triton kernel work that stays in its loop."""

    hoists_elementwise: bool
    fuses_in_loops: bool


TASTES = {"jax": Taste(hoists_elementwise=True, fuses_in_loops=True), "triton": Taste(False, False)}


def make(cell: Cell, sizes: dict[str, int], target: str) -> Plan:
    """The plan of a cell for a target.

    Raises:
        TargetError: the target runs sequences only.
        PipelineError: forward and reversed states need each other.
    """
    if cell.axes != (TIME,):
        raise TargetError(
            f"{cell.name} runs over {', '.join(cell.axes)}; the {target} target runs sequences only so far, "
            f"the target reference runs every program"
        )
    taste = TASTES[target]
    simple = simplify(cell)
    split = split_products(simple)
    fused = fuse_products(split, in_loops=taste.fuses_in_loops)
    return make_plan(fused, sizes, hoist_elementwise=taste.hoists_elementwise)


def write(plan: Plan, target: str, dtype: str, source_name: str, command: str) -> str:
    """The text of a standalone module that runs a plan."""
    match target:
        case "jax":
            return emit_jax(plan, dtype, source_name, command)
        case "triton":
            return emit_triton(plan, dtype, source_name, command)
    raise TargetError(f"there is no target {target}; there are {', '.join(TARGETS)}")
