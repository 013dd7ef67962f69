"""The call of a scan in an emitted module, the same for every framework but for spellings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, subscript
from lsrl.backends.primitive_site import Site
from lsrl.ir import build
from lsrl.ir.schedules.coefficients import Coefficient
from lsrl.ir.schedules.scan_form import ScanForm

Joins = Mapping[str, str]
"""The framework's functions max, min and logaddexp."""


def write_scan_call(form: ScanForm, site: Site, joins: Joins) -> dict[str, str]:
    """Write the call, and where they are needed the states that arrive; the code of the last value of each state."""
    following = [site.bind(state.next) for state in form.states]
    last = [site.names.fresh(f"{state.name}_last") for state in form.states]
    site.writer.line(f"{_tuple(following)}, {_tuple(last)} = {_call(form, site, joins)}")
    for leaf, state, name in zip(form.leaves, form.states, following, strict=True):
        if site.needs(leaf) and not any(leaf is each.next for each in form.states):
            start, reverse = site.starts[state.name], ", reverse=True" if form.reverse else ""
            site.writer.line(f"{site.bind(leaf)} = arriving_states({start}, {name}{reverse})")
    return {state.name: name for state, name in zip(form.states, last, strict=True)}


def _call(form: ScanForm, site: Site, joins: Joins) -> str:
    options = ["reverse=True"] if form.reverse else []
    rows = [[coefficient_code(form, entry, site) for entry in row] for row in form.matrix]
    starts = [site.starts[state.name] for state in form.states]
    rests = _rests(form, site)
    if len(form.states) > 1:
        matrix = f"[{', '.join(_list(row) for row in rows)}]"
        return f"coupled_scan({', '.join([matrix, _list(rests), _list(starts), *options])})"
    if form.join != "add":
        return f"joined_scan({', '.join([joins[form.join], rows[0][0], rests[0], starts[0], *options])})"
    if form.block is not None:
        options.append(f"axis={form.block - form.leaves[0].rank}")
    return f"affine_scan({', '.join([rows[0][0], rests[0], starts[0], *options])})"


def coefficient_code(form: ScanForm, entry: Coefficient | None, site: Site) -> str:
    """An axis of length one stands for every axis of the state along which a coefficient does not vary."""
    if entry is None:
        return "None"
    code, axes = site.code(entry.value), list(range(form.leaves[0].rank))
    if form.block is not None:
        axes.insert(form.block, form.block)
    kept = [axis in entry.axes for axis in axes]
    if site.varies(entry.value):
        return str(_lined_up(code, kept))
    return str(_lined_up(code, kept[kept.index(True) :]) if True in kept else code)


def _lined_up(code: Code, kept: Sequence[bool]) -> Code:
    if all(kept):
        return code
    first = list(kept).index(False)
    return subscript(code, ", ".join(["...", *(":" if keep else "None" for keep in kept[first:])]))


def _rests(form: ScanForm, site: Site) -> list[str]:
    """Arrays of the full shape; nothing but zeros is written as None where another one tells the shape."""
    codes = ["None" if rest is None else str(site.whole(rest.value)) for rest in form.rest]
    if all(rest is None for rest in form.rest):
        leaf = form.leaves[0]
        codes[0] = str(site.whole(build.zeros(leaf.shape, leaf.kind)))
    return codes


def _list(codes: list[str]) -> str:
    return f"[{', '.join(codes)}]"


def _tuple(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"
