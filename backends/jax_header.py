"""The docstring of an emitted JAX module: the program, its arrays, how it runs, how to make it again."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from lsrl.backends.jax_place import Types
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Shape, shape_of, shape_text
from lsrl.ir.ops import Family, family
from lsrl.ir.plan import Loop, Parallel, Plan, Shift
from lsrl.ir.value import Kind, Value

WIDTH = 108
NO_BREAK = "\N{NO-BREAK SPACE}"


def header(plan: Plan, types: Types, source_name: str, command: str) -> str:
    """The text of the module's docstring."""
    cell = plan.cell
    title, _, more = cell.doc.strip().partition("\n")
    parts = [
        textwrap.fill(f"{cell.name}: {title}" if title else cell.name, WIDTH),
        "\n".join(textwrap.fill(line, WIDTH) for line in textwrap.dedent(more).strip().split("\n")),
        _arrays(cell),
        _types(types),
        _run(plan),
        _origin(source_name, command),
    ]
    return "\n\n".join(part for part in parts if part)


def schedule(plan: Plan) -> str:
    """How the stages of a plan run, in words."""
    parts = [part for stage in plan.stages if (part := _stage(stage))]
    return "; ".join(parts) or "every position by itself"


def _stage(stage: Parallel | Shift | Loop) -> str:
    match stage:
        case Parallel(values):
            return _parallel(values)
        case Shift(state):
            return f"{state.name} is a shifted sequence"
        case Loop(states):
            names = ", ".join(state.name for state in states)
            return f"{names} in one `lax.scan`{' from the end to the start' if stage.reverse else ''}"


def _parallel(values: Sequence[Value]) -> str:
    products = sum(family(v.op) in (Family.CONTRACTION, Family.STENCIL) for v in values)
    if not products:
        return ""
    return f"{products} product{'s' if products > 1 else ''} over all positions"


def _run(plan: Plan) -> str:
    steps = textwrap.fill(f"Schedule: {schedule(plan)}.", WIDTH, subsequent_indent="    ")
    reverse = [state.name for state in plan.cell.states if state.reverse]
    if not reverse:
        return steps
    return f"{steps}\nThere is no `step`: {', '.join(reverse)} arrives from the end of the sequence."


def _origin(source_name: str, command: str) -> str:
    made = f"Made from {source_name}" if source_name else "Made"
    return f"{made} by\n    {command or 'lsrl'}\nIt needs nothing but jax."


def _types(types: Types) -> str:
    if not types.narrow:
        return ""
    data, real = (name.removeprefix("jnp.") for name in (types.data, types.real))
    return f"Inputs, params and outputs are {data}; states and everything computed are {real}."


def _arrays(cell: Cell) -> str:
    inputs = [*((i.name, i.shape, i.kind) for i in cell.inputs), *((n.name, n.shape, Kind.FLOAT) for n in cell.noises)]
    rows = (
        ("inputs", ("B", "T"), inputs),
        ("params", (), [(p.name, p.shape, p.kind) for p in cell.params]),
        ("state", ("B",), [(s.name, s.shape, s.kind) for s in cell.states]),
        ("outputs", ("B", "T"), [(o.name, o.value.shape, o.value.kind) for o in cell.outputs]),
    )
    lines = [f"    {title:8} {text}" for title, lead, arrays in rows for text in _row(lead, arrays)]
    return "\n".join(["Arrays, by name:", *(line.rstrip() for line in lines)])


def _row(lead: Sequence[str], arrays: Iterable[tuple[str, Shape, Kind]]) -> Iterator[str]:
    """`Wz, Wh [H, D]; bz [H]`, as one text with its continuation lines indented."""
    groups: list[tuple[list[str], str]] = []
    for name, shape, kind in arrays:
        suffix = shape_text((*shape_of(*lead), *shape)) + (f" {kind}" if kind is not Kind.FLOAT else "")
        if groups and groups[-1][1] == suffix:
            groups[-1][0].append(name)
        else:
            groups.append(([name], suffix))
    text = "; ".join(f"{', '.join(names)} {suffix}" for names, suffix in groups)
    if text:
        unbroken = re.sub(r" \[[^]]*\]", lambda shape: shape[0].replace(" ", NO_BREAK), text)
        yield textwrap.fill(unbroken, WIDTH - 13, subsequent_indent=" " * 13).replace(NO_BREAK, " ")
