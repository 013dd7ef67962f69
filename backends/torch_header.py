"""The docstring of an emitted PyTorch module: the program, its arrays, how it runs, how to make it again."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from lsrl.backends.module_header import WIDTH, arrays, origin, title
from lsrl.backends.torch_place import Types
from lsrl.ir.plan import Plan


def header(
    plan: Plan, types: Types, schedule: Mapping[str, str], source_name: str, command: str, gradients: bool
) -> str:
    """The text of the module's docstring.

    Args:
        schedule: how each recurrence runs, by the names of its states.
        gradients: whether the module has a backward pass.
    """
    parts = [
        title(plan.cell),
        arrays(plan.cell),
        _types(types),
        _run(plan, schedule),
        _gradients(schedule, gradients),
        origin(source_name, command, "torch and triton"),
    ]
    return "\n\n".join(part for part in parts if part)


def _types(types: Types) -> str:
    if not types.narrow:
        return ""
    data, real = (name.removeprefix("torch.") for name in (types.data, types.real))
    return f"Inputs, params, outputs and products with params are {data}; states and loops compute in {real}."


def _run(plan: Plan, schedule: Mapping[str, str]) -> str:
    lines = [f"Schedule of {states}: {how}." for states, how in schedule.items()] or ["Every position by itself."]
    reverse = [state.name for state in plan.cell.states if state.reverse]
    if reverse:
        lines.append(f"There is no `step`: {', '.join(reverse)} arrives from the end of the sequence.")
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines)


def _gradients(schedule: Mapping[str, str], gradients: bool) -> str:
    if not gradients:
        return "It runs forward only: nothing that comes out has gradients."
    if not any("kernel" in how for how in schedule.values()):
        return ""
    text = (
        "Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop, "
        "which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says so."
    )
    return textwrap.fill(text, WIDTH)
