"""How a program runs, as data: states, recurrences, what left the loops, what was fused, the loops, the costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lsrl import stages
from lsrl.explain_loops import StageFact, loops, reference_loops
from lsrl.ir import ops
from lsrl.ir.cell import TIME, Cell
from lsrl.ir.dims import count, shape_text
from lsrl.ir.pipeline import components
from lsrl.ir.plan import Parallel, Plan
from lsrl.ir.span import Span
from lsrl.ir.value import Value, postorder
from lsrl.schedule import Schedule
from lsrl.sentences import Sentences

WHY = "always legal, and the only schedule of this version"
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class StateFact:
    """A state: what it holds, where it starts, which way it travels, and whether it feeds back into itself."""

    name: str
    shape: str
    elements: int
    kind: str
    init: str
    axes: tuple[str, ...]
    reverse: bool
    recurrent: bool
    place: str


@dataclass(frozen=True, slots=True)
class RecurrenceFact:
    """States that need each other, how they run, and why so."""

    states: tuple[str, ...]
    reverse: bool
    schedule: str
    why: str


@dataclass(frozen=True, slots=True)
class FusionFact:
    """Products with the same operand that are computed as one; `where` is "all positions" or the states of a loop."""

    products: tuple[str, ...]
    shape: str
    where: str


@dataclass(frozen=True, slots=True)
class SplitFact:
    """A product that is distributed over a concatenation, so that the part without state leaves the loop."""

    product: str
    terms: str


@dataclass(frozen=True, slots=True)
class CostFact:
    """FLOPs and bytes moved to and from memory: in one step of the loops, and altogether for the whole run.

    A step counts what the loops compute and move at one position for the whole batch.  Parameters used in a loop are
    taken to stay on the chip: they count once, in `bytes_parameters`.
    """

    parameters: int
    state_elements: int
    flops_step: int
    bytes_step: int
    flops: int
    bytes: int
    bytes_parameters: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `lsrl explain` tells.

    Attributes:
        assumed: the sizes that nobody gave.
        hoisted: the user's statements that are computed for all positions at once, with their places.
        loops: the stages in order; over a grid or graph the one nest of the reference.
    """

    name: str
    doc: str
    axes: tuple[str, ...]
    target: str
    dtype: str
    sizes: Mapping[str, int]
    assumed: tuple[str, ...]
    batch: int
    length: int
    states: tuple[StateFact, ...]
    recurrences: tuple[RecurrenceFact, ...]
    hoisted: tuple[tuple[str, str], ...]
    fused: tuple[FusionFact, ...]
    split: tuple[SplitFact, ...]
    loops: tuple[StageFact, ...]
    costs: CostFact


@dataclass(frozen=True, slots=True)
class Setting:
    """What costs depend on besides the program."""

    target: str = "jax"
    dtype: str = "float32"
    batch: int = 1
    length: int = 1024


def explain(
    cell: Cell, sizes: Mapping[str, int], schedule: Schedule, setting: Setting, assumed: tuple[str, ...] = ()
) -> Report:
    """Everything there is to tell about running a cell.

    Raises:
        PipelineError: forward and reversed states need each other.
    """
    made = stages.make(cell, sizes, setting.target) if cell.axes == (TIME,) else None
    nest = tuple(loops(made.plan) if made else reference_loops(cell, sizes))
    return Report(
        name=cell.name,
        doc=cell.doc,
        axes=cell.axes,
        target=setting.target if made else "reference",
        dtype=setting.dtype,
        sizes=dict(sizes),
        assumed=assumed,
        batch=setting.batch,
        length=setting.length,
        states=tuple(_states(cell, sizes)),
        recurrences=tuple(_recurrences(cell, schedule)),
        hoisted=tuple(_hoisted(made.plan)) if made else (),
        fused=tuple(_fused(made)) if made else (),
        split=tuple(_split(made)) if made else (),
        loops=nest,
        costs=_costs(cell, sizes, nest, setting),
    )


def _states(cell: Cell, sizes: Mapping[str, int]) -> Iterator[StateFact]:
    sentences = Sentences(cell)
    recurrent = {name for part in components(cell) if part.cyclic for name in part.names}
    for state in cell.states:
        leaf = next((v for v in postorder(cell.all_roots()) if v.op == "state" and v.attr("name") == state.name), None)
        yield StateFact(
            state.name,
            shape_text(state.shape),
            count(state.shape).evaluate(sizes),
            state.kind.value,
            sentences.expression(_repeated(state.init)),
            state.axes,
            state.reverse,
            state.name in recurrent,
            _place(cell, leaf),
        )


def _repeated(value: Value) -> Value:
    """The scalar that an initial value repeats, where it does."""
    return value.args[0] if value.op == "expand" and value.args[0].rank == 0 else value


def _recurrences(cell: Cell, schedule: Schedule) -> Iterator[RecurrenceFact]:
    by_state = {directive.states: directive.how for directive in schedule.directives}
    for part in components(cell):
        names = tuple(state.name for state in part.states)
        if part.cyclic:
            yield RecurrenceFact(names, part.reverse, by_state[names], WHY)


def _hoisted(plan: Plan) -> Iterator[tuple[str, str]]:
    sentences = Sentences(plan.cell)
    for stage in plan.stages:
        match stage:
            case Parallel(values):
                named = [value for value in values if value in plan.cell.names]
                yield from ((line, _place(plan.cell, v)) for v, line in sentences.statements(named, ()))
            case _:
                pass


def _fused(made: stages.Made) -> Iterator[FusionFact]:
    """The products over stacked matrices that the graph did not have before fusion."""
    before = set(postorder(made.split.all_roots()))
    sentences = Sentences(made.plan.cell)
    for value in postorder(made.plan.cell.all_roots()):
        if value.op == "einsum" and value not in before:
            stacked = next((arg for arg in value.args if arg.op == "concat" and arg not in before), None)
            if stacked is not None:
                parts = [_product(value, stacked, part) for part in stacked.args]
                inside = any(arg.op == "state" for arg in postorder([value]))
                yield FusionFact(
                    tuple(map(sentences.definition, parts)), shape_text(stacked.shape), "the loop" if inside else ""
                )


def _product(value: Value, stacked: Value, part: Value) -> Value:
    """The product as it was with one of the matrices that were stacked."""
    args = tuple(part if arg is stacked else arg for arg in value.args)
    return ops.apply("einsum", *args, spec=value.attr("spec"))


def _split(made: stages.Made) -> Iterator[SplitFact]:
    """The products that fusion's predecessor took apart: those of a concatenation that are there no more."""
    after = set(postorder(made.split.all_roots()))
    sentences = Sentences(made.simple)
    for value in postorder(made.simple.all_roots()):
        if value.op == "einsum" and value not in after and any(arg.op == "concat" for arg in value.args):
            mixed = next(arg for arg in value.args if arg.op == "concat")
            yield SplitFact(sentences.definition(value), ", ".join(map(sentences.expression, mixed.args)))


def _costs(cell: Cell, sizes: Mapping[str, int], nest: tuple[StageFact, ...], setting: Setting) -> CostFact:
    width, batch = BYTES[setting.dtype], setting.batch
    positions = batch * setting.length ** len(cell.axes)
    inside = [stage for stage in nest if stage.sequential]
    resident = sum(stage.resident for stage in nest) * width
    return CostFact(
        parameters=sum(count(param.shape).evaluate(sizes) for param in cell.params),
        state_elements=sum(count(state.shape).evaluate(sizes) for state in cell.states),
        flops_step=batch * sum(stage.flops for stage in inside),
        bytes_step=batch * width * sum(stage.moved for stage in inside),
        flops=positions * sum(stage.flops for stage in nest),
        bytes=positions * width * sum(stage.moved for stage in nest) + resident,
        bytes_parameters=resident,
    )


def _place(cell: Cell, value: Value | None) -> str:
    spans: tuple[Span, ...] = cell.spans.get(value, ()) if value is not None else ()
    return f"{spans[0].file}:{spans[0].line}" if spans else ""
