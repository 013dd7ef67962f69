"""The loops that a plan stands for, statement by statement, and what each stage computes and moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lsrl.ir.cell import Cell, State
from lsrl.ir.cost import elements, flops
from lsrl.ir.dims import shape_text
from lsrl.ir.graph_plan import GraphPlan
from lsrl.ir.lattice import is_grid
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import VARYING, leaf_of
from lsrl.ir.plan import Loop, Parallel, Plan, Primitive, Shift, Stage
from lsrl.ir.plan_stages import as_one_in_words
from lsrl.ir.schedules.how import Chunk, Dag, Quadratic, Scan, Tiles, Tree
from lsrl.ir.schedules.line_form import LineForm
from lsrl.ir.value import Value, depends_on, postorder
from lsrl.sentences import Sentences


@dataclass(frozen=True, slots=True)
class StageFact:
    """A stage of a plan.

    Attributes:
        head: what it runs over, `for t in 0 .. T-1` say.
        carries: a loop's states with their shapes.
        lines: its statements.
        flops: arithmetic at one position of one sequence.
        moved: elements read and written at one position.
        resident: elements that are the same at every position, parameters mostly.
    """

    head: str
    carries: tuple[str, ...]
    lines: tuple[str, ...]
    flops: int
    moved: int
    resident: int
    sequential: bool


def loops(plan: Plan) -> Iterator[StageFact]:
    """The stages of a plan; what is computed once comes first."""
    sentences = Sentences(plan.cell)
    wanted = _crossing(plan)
    once = tuple(line for _, line in sentences.statements(plan.statics, _handed_on(plan)))
    if once:
        yield StageFact("once", (), once, 0, 0, 0, sequential=False)
    for stage in plan.stages:
        yield _fact(plan, stage, sentences, wanted)


def graph_loops(plan: GraphPlan) -> Iterator[StageFact]:
    """The loop over the levels of a graph, or over rounds: one body, for all nodes of a level at once."""
    cell, sizes = plan.cell, plan.sizes
    sentences = Sentences(cell)
    values = [value for value in postorder(cell.roots()) if value.args]
    roots = set(cell.roots())
    lines = tuple(line for _, line in sentences.statements(values, roots))
    level = "for all nodes of a level at once, level after level"
    head = level if plan.system is None else "in rounds that eliminate, or level by level, whichever is less work"
    leaves = [v for v in postorder(cell.roots()) if v.op == "input"]
    moved = sum(elements(v, sizes) for v in {*leaves, *roots})
    yield StageFact(head, _carries(cell), lines, flops(values, sizes), moved, 0, sequential=True)


def _fact(plan: Plan, stage: Stage, sentences: Sentences, wanted: frozenset[Value]) -> StageFact:
    sizes = plan.sizes
    match stage:
        case Parallel(values):
            lines = tuple(line for _, line in sentences.statements(values, wanted))
            read, static = _operands(values)
            written = [v for v in values if v in wanted]
            moved = _size([*read, *written], plan)
            return StageFact(
                _everywhere(plan.cell), (), lines, flops(values, sizes), moved, _size(static, plan), sequential=False
            )
        case Shift(state):
            place = "after" if state.backward else "before"
            which = f"position {place}" if stage.line is None else f"{stage.line.length} positions {place}"
            line = f"{state.name} = {sentences.expression(state.next)} of the {which}"
            return StageFact(_everywhere(plan.cell), (), (line,), 0, 2 * _size([state.next], plan), 0, sequential=False)
        case Primitive():
            return _primitive(plan, stage, sentences)
        case Loop():
            own = {*stage.emits, *(state.next for state in stage.states)}
            lines = tuple(line for _, line in sentences.statements(stage.body, own))
            head = _order(plan.cell, stage)
            carries = tuple(f"{s.name} {shape_text(s.shape)}{_along(plan.cell, s)}" for s in stage.states)
            moved = _size([*stage.reads, *stage.emits], plan)
            return StageFact(
                head, carries, lines, flops(stage.body, sizes), moved, _size(stage.statics, plan), sequential=True
            )


def _everywhere(cell: Cell) -> str:
    return f"for all b, {', '.join(cell.axes)} at once"


def _order(cell: Cell, loop: Loop) -> str:
    """In which order a loop visits positions."""
    if isinstance(loop.how, Dag):
        last = " + ".join(f"{axis.upper()}-1" for axis in cell.axes)
        partly = 0 < len(loop.reverse) < len(cell.axes)
        ends = f"{last} .. 0" if loop.reverse and not partly else f"0 .. {last}"
        return f"for {' + '.join(cell.axes)} in {ends}{_turned(cell, loop) if partly else ''}"
    if is_grid(cell):
        return _nest(cell.axes) + _turned(cell, loop)
    return "for t in T-1 .. 0" if loop.reverse else "for t in 0 .. T-1"


def _turned(cell: Cell, loop: Loop | Primitive) -> str:
    """On which axes of a grid a recurrence runs backward."""
    if not loop.reverse:
        return ""
    turned = [axis for axis in cell.axes if axis in loop.reverse]
    return ", from the last to the first" + ("" if len(turned) == len(cell.axes) else f" {' and '.join(turned)}")


def _along(cell: Cell, state: State) -> str:
    """The axis that a state travels along, where there are several."""
    return f" along {state.axes[0]}" if is_grid(cell) else ""


_HEADS = {
    Scan: "by a scan over {}",
    Chunk: "in chunks of {}",
    Quadratic: "for all pairs of positions at once",
    Tiles: "in tiles of the grid",
    Tree: "in tiles of the grid that are merged in pairs",
}


def _primitive(plan: Plan, stage: Primitive, sentences: Sentences) -> StageFact:
    """One operation on whole sequences, told by the step that it runs."""
    made = [value for value in stage.form.results if value.args]
    tied = depends_on(made, leaf_of(state.name for state in stage.states))
    step = [value for value in postorder(made, stop=lambda v: v not in tied) if value in tied and value.args]
    lines = tuple(line for _, line in sentences.statements(step, {*made}))
    varying = [value for value in stage.form.operands if any(v.op in VARYING for v in postorder([value]))]
    axis = plan.cell.axes[stage.form.axis if isinstance(stage.form, LineForm) else 0]
    turned = _turned(plan.cell, stage) if is_grid(plan.cell) else ", from the end" if stage.reverse else ""
    as_one = as_one_in_words(plan.tiled_with(stage))
    return StageFact(
        ", ".join(filter(None, (_HEADS[type(stage.how)].format(axis) + turned, as_one))),
        tuple(f"{state.name} {shape_text(state.shape)}" for state in stage.states),
        lines,
        flops(step, plan.sizes),
        _size([*varying, *made], plan),
        _size([value for value in stage.form.operands if value not in varying], plan),
        sequential=False,
    )


def _crossing(plan: Plan) -> frozenset[Value]:
    """The values that one stage hands to another, or to the outside."""
    found = {output.value for output in plan.cell.outputs}
    for stage in plan.stages:
        match stage:
            case Loop():
                found |= {*stage.reads, *stage.emits}
            case Shift(state):
                found.add(state.next)
            case Primitive():
                found |= {*stage.form.operands}
            case Parallel(values):
                found |= set(_operands(values)[0])
    return frozenset(found)


def _handed_on(plan: Plan) -> frozenset[Value]:
    """Matrices, products and solutions that are computed once and read by stages; inside a loop they would mislead."""
    read: set[Value] = set()
    for stage in plan.stages:
        match stage:
            case Loop():
                read |= {*stage.statics}
            case Parallel(values):
                read |= {*_operands(values)[1]}
    known = {value for value in plan.statics if len(value.shape) > 1 or family(value.op) in _COSTLY}
    return frozenset(value for value in read & known if family(value.op) is not Family.LAYOUT)


_COSTLY = (Family.CONTRACTION, Family.STENCIL, Family.SYSTEM)


def _operands(values: tuple[Value, ...]) -> tuple[list[Value], list[Value]]:
    """What the values read and do not compute themselves: what varies with the position, and what does not."""
    own = set(values)
    outside = dict.fromkeys(arg for value in values for arg in value.args if arg not in own)
    varies = {v for v in postorder(outside) if v.op in VARYING}
    varying = [v for v in outside if varies & set(postorder([v]))]
    return varying, [v for v in outside if v not in varying and v.op != "const"]


def _size(values: Iterable[Value], plan: Plan) -> int:
    return sum(elements(value, plan.sizes) for value in values)


def _carries(cell: Cell) -> tuple[str, ...]:
    return tuple(f"{state.name} {shape_text(state.shape)} along {', '.join(state.axes)}" for state in cell.states)


def _nest(axes: Iterable[str]) -> str:
    return ", ".join(f"for {axis} in 0 .. {axis.upper()}-1" for axis in axes)
