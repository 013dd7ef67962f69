"""Program text to checked graphs and to arrays, for tests of what the language means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lsrl import elaborate
from lsrl.backends import reference
from lsrl.backends.result import Result
from lsrl.ir import verify
from lsrl.ir.cell import Cell
from lsrl.ir.span import Diagnostic, LsrlError
from lsrl.loader import load_text

Arrays = Mapping[str, Any]


def cell_of_text(text: str, cell: str | None = None, sizes: Mapping[str, int] | None = None) -> Cell:
    """The verified graph of a program."""
    loaded = load_text(text)
    return verify.check(elaborate.elaborate(loaded.program, cell=cell, sizes=sizes, loader=loaded.loader))


def run_text(
    text: str,
    sizes: Mapping[str, int],
    inputs: Arrays,
    params: Arrays | None = None,
    state: Arrays | None = None,
    cell: str | None = None,
) -> Result:
    """Outputs and final states of a program in the reference."""
    return reference.run(cell_of_text(text, cell, sizes), sizes, params or {}, inputs, state)


def value_of(expression: str, sizes: Mapping[str, int] | None = None, **inputs: Any) -> np.ndarray:
    """An expression of named arrays, as a cell of one position computes it; sizes are numbers in its shapes."""
    declared = [f"{name}: [{', '.join(map(str, np.shape(a)))}] {_kind(a)}" for name, a in inputs.items()]
    lines = [f"    input {', '.join(declared)}"] if declared else []
    header = ", ".join(f"{name}={number}" for name, number in (sizes or {}).items())
    text = f"cell f({header}):\n" + "\n".join(
        [*lines, "    state tick: [] = 0", "    tick' = tick", f"    output y = {expression}\n"]
    )
    arrays = {name: np.asarray(a)[None, None] for name, a in inputs.items()}
    cell = cell_of_text(text)
    extent = None if arrays else {"B": 1, "T": 1}
    return np.asarray(reference.run(cell, sizes or {}, {}, arrays, extent=extent).outputs["y"])[0, 0]


def problems(text: str) -> tuple[Diagnostic, ...]:
    """Everything that is said about a program, whether its syntax or its meaning is at fault."""
    try:
        loaded = load_text(text, "example.lsrl")
    except LsrlError as error:
        return error.diagnostics
    return elaborate.check(loaded.program, loader=loaded.loader)


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in problems(text)]


def _kind(array: Any) -> str:
    match np.asarray(array).dtype.kind:
        case "b":
            return "bool"
        case "i":
            return "int"
        case "c":
            return "complex"
        case _:
            return "float"
