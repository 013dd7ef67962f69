"""The report of `lsrl explain` as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lsrl.check_facts import Check
from lsrl.explain import CostFact, FusionFact, RecurrenceFact, Report, ScheduleFact, SplitFact, StateFact
from lsrl.explain_loops import StageFact
from lsrl.ir.cell import GRAPH, TIME
from lsrl.ir.schedules.how import parse_how

_INDENT = "  "
_UNITS = ("", "k", "M", "G", "T", "P")


def report_text(report: Report) -> str:
    """A title, then a section for each thing there is to tell."""
    sections = (
        ("States", _states(report)),
        ("Recurrences", _recurrences(report)),
        ("Schedules", _schedules(report)),
        ("Computed for all positions at once", table(report.hoisted)),
        ("Products taken apart", map(_split, report.split)),
        ("Products made one", map(_fused, report.fused)),
        ("Loops", _loops(report.loops)),
        ("Costs", _costs(report)),
    )
    parts = [_title(report)]
    for heading, lines in sections:
        body = [f"{_INDENT}{line}" if line else "" for line in lines]
        parts += ["\n".join([heading, *body])] if body else []
    return "\n\n".join(parts) + "\n"


def checks_text(found: Sequence[Check]) -> str:
    """A line for each claim that was held against numbers, and a verdict."""
    rows = [(each.subject, each.claim, f"{each.error:.0e}", "" if each.holds else "FALSE") for each in found]
    wrong = sum(not each.holds for each in found)
    verdict = f"{wrong} of {len(found)} facts are false" if wrong else f"all {len(found)} facts hold"
    return "\n".join([*table([("", "", "largest error", ""), *rows]), "", verdict, ""])


def _title(report: Report) -> str:
    sizes = ", ".join(f"{name}={number}" for name, number in report.sizes.items())
    doc = report.doc.strip().partition("\n")[0]
    lines = [f"{report.name}({sizes}){doc and f': {doc}'}"]
    if report.assumed:
        lines.append(f"Assumed, since not given: {', '.join(f'{n}={report.sizes[n]}' for n in report.assumed)}.")
    return "\n".join(lines)


def _states(report: Report) -> Iterator[str]:
    return table(_state(state) for state in report.states)


def _state(state: StateFact) -> tuple[str, ...]:
    kind = "" if state.kind == "float" else f" {state.kind}"
    way = "backward" if state.reverse else "forward"
    along = way if state.axes == (TIME,) else f"along {_axes(state)}"
    role = "" if state.recurrent else "remembers, does not feed back"
    return state.name, f"{state.shape}{kind}", f"starts at {state.init}", along, state.place, role


def _axes(state: StateFact) -> str:
    return " and ".join(f"{axis} backward" if axis in state.reverse else axis for axis in state.axes)


def _turned(part: RecurrenceFact, axes: tuple[str, ...]) -> str:
    """Which way a recurrence runs, where that is not forward."""
    if not part.reverse:
        return ""
    where = "" if part.reverse == axes else f" of {' and '.join(part.reverse)}"
    return f"from the end to the start{where}"


def _recurrences(report: Report) -> Iterator[str]:
    for part in report.recurrences:
        clauses = [
            f"{', '.join(part.states)}: {part.schedule}",
            _turned(part, report.axes),
            "each needs the others" if len(part.states) > 1 else "",
            f"reads {', '.join(part.reads)}" if part.reads else "",
            f"in one loop with {', '.join(part.together)}" if part.together else "",
        ]
        yield "; ".join(filter(None, (", ".join(filter(None, clauses)), part.way)))
        yield from (f"{_INDENT}{fact.sentence[:1].upper()}{fact.sentence[1:]}" for fact in part.facts)
    if not report.recurrences:
        yield "None: no state feeds back into itself, so nothing has to run step by step."


def _schedules(report: Report) -> Iterator[str]:
    """What each schedule says to each recurrence, and what the legal ones cost."""
    for part in (part for part in report.recurrences if part.schedules):
        yield f"{', '.join(part.states)}:"
        rows = [(each.schedule, f"{_legal(each)} because {each.because}") for each in part.schedules]
        yield from (f"{_INDENT}{line}" for line in table(rows))
    priced = [part for part in report.recurrences if any(each.seconds is not None for each in part.schedules)]
    if priced:
        yield f"By the model of the device {report.device}, forward and backward, {_extent(report)}, {report.dtype}:"
        header = ("", "", "time", "FLOPs", "bytes", "steps in turn", "")
        rows_of = [row for part in priced for row in _prices(part)]
        yield from (f"{_INDENT}{line}" for line in table([header, *rows_of]))


def _legal(said: ScheduleFact) -> str:
    return "legal" if said.legal else "illegal"


def _prices(part: RecurrenceFact) -> Iterator[tuple[str, ...]]:
    for said in part.schedules:
        if said.legal and said.seconds is not None:
            runs = type(parse_how(part.schedule)) is type(parse_how(said.as_costed))
            yield (
                part.states[0],
                said.as_costed,
                _time(said.seconds),
                _short(round(said.flops or 0)),
                _short(round(said.bytes or 0)),
                f"{said.steps:,}",
                "chosen" if runs else "",
            )


def _time(seconds: float) -> str:
    """`1.23 ms`"""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _split(split: SplitFact) -> str:
    return f"{split.product}, into one product for each of {split.terms}"


def _fused(fused: FusionFact) -> str:
    products = " and ".join((", ".join(fused.products[:-1]), fused.products[-1]))
    where = "at each step" if fused.in_loop else "for all positions"
    return f"{products}: one product with a matrix {fused.shape}, {where}"


def _loops(stages: Sequence[StageFact]) -> Iterator[str]:
    for stage in stages:
        carries = f"   carrying {', '.join(stage.carries)}" if stage.carries else ""
        yield f"{stage.head}:{carries}"
        yield from (f"    {line}" for line in stage.lines)


def _costs(report: Report) -> Iterator[str]:
    costs = report.costs
    numbers = f"{costs.parameters:,} parameters, {costs.state_elements:,} numbers of state"
    yield f"{_extent(report)}, {report.dtype}; {numbers}"
    yield from table(_cost_rows(costs))


def _extent(report: Report) -> str:
    extents = {TIME: f"batch {report.batch}, length {report.length}", GRAPH: f"{report.length} nodes"}
    return extents.get(report.axes[0], f"batch {report.batch}, {report.length} positions along each axis")


def _cost_rows(costs: CostFact) -> Iterator[tuple[str, ...]]:
    yield "", "FLOPs", "bytes"
    yield "one step of the loops", _short(costs.flops_step), _short(costs.bytes_step)
    yield "the whole run", _short(costs.flops), _short(costs.bytes)
    yield "of which parameters", "", _short(costs.bytes_parameters)


def _short(number: int) -> str:
    """`1.23 M`"""
    scaled, unit = float(number), 0
    while scaled >= 1000 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{number}" if unit == 0 else f"{scaled:.3g} {_UNITS[unit]}"


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns of equal width, empty ones left out."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        yield "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths) if width).rstrip()
