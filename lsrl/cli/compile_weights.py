"""`lsrl compile --target weights`"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rich_click as click

from lsrl.array_files import read_arrays
from lsrl.backends.weights.architectures import ARCHITECTURES as _HELD
from lsrl.cli.terminal import working
from lsrl.program import Program

ARCHITECTURES = tuple(_HELD)
ONNX = ".onnx"
SHOWN = 32
"""Positions of the random sequence that is drawn where none is given, within the horizon."""


@dataclass(frozen=True, slots=True)
class WeightsRequest:
    """What the command line asks for; None where it does not say."""

    arch: str | None
    sizes: Mapping[str, int]
    params: Path | None
    dtype: str | None
    given: tuple[str, ...]
    horizon: int | None
    gate_scale: float | None
    html: Path | None
    inputs: Path | None
    output: str | None


def write_weights(program: Program, request: WeightsRequest) -> str:
    """Write the folder, or the ONNX model; one line about it.

    Raises:
        click.UsageError: there is no architecture, or nothing to write to.
        Refusal: the program, or what is said of it, is at fault.
    """
    from lsrl import weights  # loads torch

    if request.arch is None or request.output is None:
        raise click.UsageError("--target weights needs --arch and a folder, -o DIR, or a model, -o FILE.onnx")
    if request.inputs and not request.html:
        raise click.UsageError("--inputs is what --html draws")
    params = read_arrays(request.params) if request.params else None
    with working(f"compiling {program.name} for {request.arch}"):
        compiled = weights.compile(
            program,
            request.arch,
            request.sizes,
            params,
            request.dtype or "float32",
            request.given,
            request.horizon or weights.HORIZON,
            request.gate_scale,
        )
        write = compiled.save_onnx if Path(request.output).suffix == ONNX else compiled.save
        write(request.output)
        if request.html:
            length = min(SHOWN, request.horizon or SHOWN)
            arrays = read_arrays(request.inputs) if request.inputs else compiled.samples(1, length)
            compiled.trace(arrays).save_html(request.html)
    return f"{request.output}: {program.name} as {compiled.report.summary()}"
