"""A recurrence where it stands in a JAX function: its step as a function within, and the `lax.scan` that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from lsrl.backends.expressions import grouped, tupled
from lsrl.backends.jax_directions import Taken, write_directed
from lsrl.backends.jax_module import POSITION
from lsrl.backends.jax_stages import Stages
from lsrl.backends.naming import identifier
from lsrl.backends.places import travels
from lsrl.backends.writer import Writer
from lsrl.ir.lattice import is_grid
from lsrl.ir.plan import Abreast, Loop
from lsrl.ir.schedules.how import Dag
from lsrl.ir.value import Value


def write_steps(stages: Stages, beside: Abreast) -> None:
    """The step of each loop as a function, and what runs it over time or over a grid."""
    for each in beside.split:
        if each.is_plain(stages.cell.axes):
            _write_scan(stages, each.loops[0])
        else:
            _write_turned(stages, each)


def _write_turned(stages: Stages, beside: Abreast) -> None:
    """A loop that runs backward on some axes: forward, where what it takes and gives is turned round."""
    loop, writer = beside.forward, stages.writer
    step = _step(stages, loop, [stages.leaves["state", state.name] for state in loop.states])
    over, extent = _over(stages, loop, bool(loop.reads))
    run = stages.module.names.fresh(f"{function_name([state.name for state in loop.states])}_run")
    one_state, one_emit = len(loop.states) == 1, len(loop.emits) == 1
    given = ["starts[0]" if one_state else "starts", "reads[0]" if len(loop.reads) == 1 else "reads"]
    with writer.block(f"def {run}(reads, _, starts, extents):"):
        writer.line(f"lasts, kept = {over}({', '.join([step, *given, *extent])})")
        kept = "(kept,)" if one_emit else "kept" if loop.emits else "()"
        writer.line(f"return {kept}, {'(lasts,)' if one_state else 'lasts'}")
    writer.blank()
    write_directed(stages, run, beside, Taken(loop.reads, (), loop.emits))


def _write_scan(stages: Stages, loop: Loop) -> None:
    """The step as a function, and the scan over time."""
    names = stages.module.names
    last = stages.passed_on(loop.states)
    function = _step(stages, loop, [stages.leaves["state", state.name] for state in loop.states])
    reads = [str(stages.statements.codes[v]) for v in loop.reads]
    options = ["reverse=True"] if loop.reverse else []
    function_over, extent = _over(stages, loop, bool(reads))
    start = [stages.starts[state.name] for state in loop.states]
    emits = [names[v] for v in loop.emits]
    scan = ", ".join([function, grouped(start), grouped(reads, "None"), *extent, *options])
    stages.writer.line(f"{grouped(last)}, {grouped(emits, '_')} = {function_over}({scan})")
    for value in loop.emits:
        stages.statements.bind(value)


def _over(stages: Stages, loop: Loop, told: bool) -> tuple[str, list[str]]:
    """What runs the step at every position, and how it is told the extent; reads of a sequence tell it."""
    cell = stages.cell
    if is_grid(cell):
        function = "over_waves" if isinstance(loop.how, Dag) else "over_places"
        return function, ["extents", travels(cell, loop.states)]
    return "over_time", [] if told else ["length=length"]


def _step(stages: Stages, loop: Loop, leaves: Sequence[Value]) -> str:
    """The function that `lax.scan` runs: from state and what is read at a position to state and what is kept.

    Returns its name.
    """
    module, writer = stages.module, stages.writer
    static = {v: c for v, c in stages.statements.codes.items() if v not in module.varying}
    named = [v for v in static if str(static[v]).isidentifier()]
    scope = _scope([state.name for state in loop.states])
    names = module.names.inside([*leaves, *loop.reads, *loop.body], named, scope)
    function = module.names.fresh(f"advance_{function_name([state.name for state in loop.states])}")
    inner = module.statements(POSITION, names)
    inner.codes = static
    state, reads = grouped([names[leaf] for leaf in leaves]), grouped([names[v] for v in loop.reads], "_")
    parameters = ["state" if len(leaves) > 1 else state, "at" if len(loop.reads) > 1 else reads]
    with writer.block(f"def {function}({', '.join(parameters)}):"):
        for leaf in (*leaves, *loop.reads):
            inner.bind(leaf)
        if len(leaves) > 1:
            writer.line(f"{state[1:-1]} = state")
        if len(loop.reads) > 1:
            writer.line(f"{reads[1:-1]} = at")
        nexts = [s.next for s in loop.states]
        inner.write(loop.body, {*loop.emits, *nexts})
        following = [str(module.array(v, inner.codes, POSITION)) for v in nexts]
        kept = [str(module.array(v, inner.codes, POSITION)) for v in loop.emits]
        writer.line(f"return {grouped(following)}, {grouped(kept, 'None')}")
    writer.blank()
    return function


def unpack(writer: Writer, parts: Sequence[str], code: str) -> None:
    """`h, c = starts`, unless nothing of it is wanted."""
    if any(part != "_" for part in parts):
        writer.line(f"{tupled(parts) if len(parts) == 1 else ', '.join(parts)} = {code}")


def function_name(names: Sequence[str]) -> str:
    """What functions of a recurrence are called after: its states, `h_c`, or the first of many, `layers_0_h`."""
    scope = _scope(names)
    own = [name.removeprefix(scope) for name in names[: 1 if len(names) > 3 else None]]
    return identifier("_".join([*scope.split(".")[:-1], *own]))


def _scope(names: Sequence[str]) -> str:
    """The dotted prefix that all names share: `layers.0.`"""
    parts = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda here: len(set(here)) == 1, zip(*parts, strict=False))
    return "".join(f"{here[0]}." for here in shared)
