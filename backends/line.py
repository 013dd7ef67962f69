"""A line where it stands in an emitted function: its sequence with its past, and the parts of that which are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lsrl.backends.naming import Names
from lsrl.backends.writer import Writer
from lsrl.ir.dims import shape_of, shape_text
from lsrl.ir.lines import Line, Tap
from lsrl.ir.plan import Shift
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class LineSite:
    """Where a line is written; what each part does is said in `lsrl.backends.primitive_site`."""

    writer: Writer
    names: Names
    needs: Callable[[Value], bool]
    bind: Callable[[Value], str]


def write_line(shift: Shift, start: str, sequence: str, site: LineSite) -> str:
    """The statements of a line; the name of what it holds in the end.

    Args:
        start: the code of what it holds in the beginning, [B, *shape].
        sequence: of what it takes in, [B, T, *shape].
    """
    line = shift.line
    assert line is not None
    read = {value: tap for value, tap in shift.taps.items() if site.needs(value)}
    whole = site.names.fresh(f"{shift.state.name}_past") if read else "_"
    last = site.names.fresh(f"{shift.state.name}_last")
    backwards = ", reverse=True" if shift.state.backward else ""
    site.writer.line(f"{whole}, {last} = with_past({start}, {sequence}, {line.at}{backwards})")
    for value, tap in read.items():
        remark = shape_text((*shape_of("B", "T"), *value.shape))
        site.writer.line(f"{site.bind(value)} = windowed({_place(line, tap, whole)}{backwards})", remark)
    return last


def _place(line: Line, tap: Tap, whole: str) -> str:
    return f"{whole}, {line.length}, {tap.start}, {tap.count}, {tap.step}, {line.at}"
