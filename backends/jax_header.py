"""The docstring of an emitted JAX module: the program, its arrays, how it runs, how to make it again."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lsrl.backends.jax_place import Types
from lsrl.backends.module_header import WIDTH, arrays, in_words, origin, title
from lsrl.ir.ops import Family, family
from lsrl.ir.plan import Loop, Parallel, Plan, Primitive, Shift, Stage
from lsrl.ir.plan_stages import as_one_in_words
from lsrl.ir.schedules.how import Dag, Newton
from lsrl.ir.schedules.line_form import LineForm
from lsrl.ir.value import Value


def header(plan: Plan, types: Types, kept: Sequence[str], source_name: str, command: str) -> str:
    """The text of the module's docstring; `kept` says what loops keep for their backward passes."""
    run = "\n".join(filter(None, (_run(plan), _kept(kept))))
    parts = [title(plan.cell), arrays(plan.cell), types_told(types), run, origin(source_name, command, "jax")]
    return "\n\n".join(part for part in parts if part)


def schedule(plan: Plan) -> str:
    """How the stages of a plan run, in words."""
    first = [s for s in plan.stages if not isinstance(s, Loop) or s is plan.beside(s).loops[0]]
    parts = [part for stage in first if (part := _stage(stage, plan))]
    return "; ".join(parts) or "every position by itself"


def _stage(stage: Stage, plan: Plan) -> str:
    match stage:
        case Parallel(values):
            return _parallel(values)
        case Shift(state):
            return f"{state.name} is a shifted sequence"
    names = ", ".join(state.name for state in stage.states)
    turned = " from the end to the start" if stage.reverse else ""
    if isinstance(stage, Loop) and isinstance(stage.how, Dag):
        beside = plan.beside(stage)
        return f"{beside.names} wave by wave{f', {beside.in_words}' if beside.in_words else _turned(stage, plan)}"
    if isinstance(stage, Loop) and not isinstance(stage.how, Newton):
        return f"{names} in one `lax.scan`{turned}"
    form = stage.form if isinstance(stage, Primitive) else None
    along = plan.cell.axes[form.axis] if isinstance(form, LineForm) else "time"
    told = as_one_in_words(plan.tiled_with(stage)) if isinstance(stage, Primitive) else ""
    return ", ".join(filter(None, (f"{names} by {in_words(stage.how, along)}{turned}", told)))


def _turned(loop: Loop, plan: Plan) -> str:
    """Which way a loop over a grid runs, where that is not forward."""
    if len(loop.reverse) == len(plan.cell.axes):
        return " from the end to the start"
    return f" from the end to the start of {' and '.join(sorted(loop.reverse))}" if loop.reverse else ""


def _parallel(values: Sequence[Value]) -> str:
    products = sum(family(v.op) in (Family.CONTRACTION, Family.STENCIL) for v in values)
    if not products:
        return ""
    return f"{products} product{'s' if products > 1 else ''} over all positions"


def _run(plan: Plan) -> str:
    steps = textwrap.fill(f"Schedule: {schedule(plan)}.", WIDTH, subsequent_indent="    ")
    reverse = [state.name for state in plan.cell.states if state.backward]
    if not reverse:
        return steps
    return f"{steps}\nThere is no `step`: {', '.join(reverse)} arrives from the end of the sequence."


def _kept(kept: Sequence[str]) -> str:
    if not kept:
        return ""
    return textwrap.fill(f"Kept for the backward pass: {'; '.join(kept)}.", WIDTH, subsequent_indent="    ")


def types_told(types: Types) -> str:
    if not types.narrow:
        return ""
    data, real = (name.removeprefix("jnp.") for name in (types.data, types.real))
    return f"Inputs, params and outputs are {data}; states and everything computed are {real}."
