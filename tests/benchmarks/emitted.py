"""Our programs as the modules that the compiler writes, which run where the compiler does not.

Where lark is installed a module is written anew each time it is asked for, and kept in build/benchmarks/modules; on a
machine without it the kept one is loaded.  So `--emit` on one machine, and the benchmark on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from families import CUDA, Missing, Row
from ways import Arrays, Way

from lsrl.backends.module_loader import load_module
from lsrl.ir.fault import Refusal

FOLDER = Path(__file__).parents[2] / "build/benchmarks/modules"
GPU = "h200"  # what `auto` chooses for
REFUSED = "# refused: "


@dataclass(frozen=True)
class Written:
    """The text of a module and, as `lsrl compile` prints it, how its recurrences run; or why there is none."""

    source: str
    schedule: str
    refused: str = ""


def written(row: Row, target: str, schedule: str = "auto") -> Written:
    """A row's program for a target.

    Raises:
        FileNotFoundError: the compiler is not installed, and nobody has written the module before.
    """
    path = FOLDER / f"{_name(row, target, schedule)}.py"
    if find_spec("lark") is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_compiled(row, target, schedule))
    head, _, source = path.read_text().partition("\n")
    if head.startswith(REFUSED):
        return Written("", "", head.removeprefix(REFUSED))
    return Written(source, head.removeprefix("# "))


def _name(row: Row, target: str, schedule: str) -> str:
    """A name of its own for each module; a change of the program's text changes it."""
    said = repr((row.program, row.batch, row.length, sorted(row.sizes.items()), row.dtype, row.device, schedule))
    return f"{target}_{sha256(said.encode()).hexdigest()[:12]}"


def _compiled(row: Row, target: str, schedule: str) -> str:
    # Only here: reading programs needs lark.
    import lsrl
    from lsrl.compiling import write_program

    program = lsrl.load(row.program) if row.program.startswith("std/") else lsrl.parse(row.program)
    device = GPU if row.device == CUDA else "cpu"
    try:
        found = write_program(program, target, row.sizes, schedule, row.dtype, device, row.batch, row.length)
    except Refusal as fault:
        return f"{REFUSED}{' '.join(str(fault).split())}\n"
    return f"# {found.schedule}\n{found.source}"


def framework(target: str) -> str:
    """What the modules of a target are functions of."""
    return "jax" if target == "jax" else "torch"


def module(found: Written, name: str) -> ModuleType:
    """It, loaded."""
    return load_module(found.source, f"lsrl_benchmark_{sha256(name.encode()).hexdigest()[:8]}")


def ways(row: Row, params: Arrays, target: str, others: tuple[str, ...]) -> list[tuple[Way | Missing, str]]:
    """What is ours in a row, each with its schedule: first `ours`, what `auto` takes for the target.

    Args:
        params: which of the arrays are parameters.
        others: targets that are measured beside it.
    """
    asked = {"ours": (target, "auto")}
    asked |= {f"ours, {other}": (other, "auto") for other in others if other != target}
    asked |= {f"ours, {schedule}": (target, schedule) for schedule in row.schedules}
    return [_way(row, params, name, *each) for name, each in asked.items()]


def _way(row: Row, params: Arrays, name: str, target: str, schedule: str) -> tuple[Way | Missing, str]:
    found = written(row, target, schedule)
    if found.refused:
        return Missing(name, found.refused), ""
    apply = module(found, f"{row.name} {target} {schedule}").apply

    def run(given: Mapping[str, Any]) -> Any:
        own = {each: array for each, array in given.items() if each in params}
        inputs = {each: array for each, array in given.items() if each not in params}
        return apply(own, inputs)[0][row.output]

    return Way(name, framework(target), run), found.schedule
