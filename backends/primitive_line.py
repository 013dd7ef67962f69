"""A recurrence along one axis of a grid in an emitted module: what runs over sequences, over the grid's lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lsrl.backends.expressions import Code, call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.line_form import LineForm
from lsrl.ir.value import Value


def write_lines(form: LineForm, site: Site, write: Callable[[Site], dict[str, str]]) -> dict[str, str]:
    """Write the call that `write` gives where lines are sequences; the code of the last value of each state.

    What it takes is brought into lines, and what it makes put back in place.
    """
    made: list[tuple[Value, str]] = []

    def code(value: Value) -> Code:
        return call("in_lines", site.code(value), "extents", form.axis) if site.varies(value) else site.code(value)

    def bind(value: Value) -> str:
        made.append((value, site.names.fresh("lines")))
        return made[-1][1]

    inner = replace(
        site,
        starts={name: f"border_lines({start}, extents, {form.axis})" for name, start in site.starts.items()},
        code=code,
        whole=lambda value: call("in_lines", site.whole(value), "extents", form.axis),
        bind=bind,
        extent=f"line_extent(batch, extents, {form.axis})",
    )
    lasts = write(inner)
    for value, lines in made:
        site.writer.line(f"{site.bind(value)} = from_lines({lines}, extents, batch, {form.axis})")
    return {name: f"lines_border({last}, extents, batch, {form.axis})" for name, last in lasts.items()}
