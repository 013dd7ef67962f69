"""The docstring of an emitted PyTorch module: the program, its arrays, how it runs, how to make it again."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.backends.module_header import WIDTH, arrays, origin, title
from lsrl.backends.torch_place import Types
from lsrl.ir.plan import Plan


@dataclass(frozen=True, slots=True)
class Ways:
    """How each recurrence runs, and how its derivative does, by the names of its states."""

    schedule: Mapping[str, str]
    backward: Mapping[str, str]


def header(
    plan: Plan,
    types: Types,
    ways: Ways,
    source_name: str,
    command: str,
    gradients: bool,
    needs: str = "torch and triton",
) -> str:
    """The text of the module's docstring.

    Args:
        gradients: whether the module has a backward pass.
        needs: what a machine has to have for it.
    """
    parts = [
        title(plan.cell),
        arrays(plan.cell),
        types_told(types),
        _run(plan, ways),
        _gradients(ways, gradients),
        origin(source_name, command, needs),
    ]
    return "\n\n".join(part for part in parts if part)


def types_told(types: Types) -> str:
    if not types.narrow:
        return ""
    data, real = (name.removeprefix("torch.") for name in (types.data, types.real))
    return f"Inputs, params, outputs and products with params are {data}; states and loops compute in {real}."


def _run(plan: Plan, ways: Ways) -> str:
    lines = [f"Schedule of {states}: {how}." for states, how in ways.schedule.items()] or ["Every position by itself."]
    lines += [f"Backward pass of {states}: {how}." for states, how in ways.backward.items()]
    reverse = [state.name for state in plan.cell.states if state.backward]
    if reverse:
        lines.append(f"There is no `step`: {', '.join(reverse)} arrives from the end of the sequence.")
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines)


def _gradients(ways: Ways, gradients: bool) -> str:
    if not gradients:
        return "It runs forward only: nothing that comes out has gradients."
    if not any("kernel" in how for how in ways.schedule.values()):
        return ""
    text = (
        "Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain "
        "forms run in place of all kernels, and say so."
    )
    return textwrap.fill(text, WIDTH)
