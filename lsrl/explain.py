"""How a program runs, as data: states, recurrences, what left the loops, what was fused, the loops, the costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lsrl import stages
from lsrl.explain_loops import StageFact, graph_loops, loops
from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, Cell
from lsrl.ir.dims import count, shape_text
from lsrl.ir.facts.matrices import pieces
from lsrl.ir.facts.sentences import Fact, facts
from lsrl.ir.graph_plan import GraphPlan
from lsrl.ir.lattice import along_one_axis
from lsrl.ir.pipeline import VARYING, components, states_read
from lsrl.ir.plan import Loop, Parallel
from lsrl.ir.schedules.choose import choose
from lsrl.ir.schedules.cost import BYTES, Run
from lsrl.ir.schedules.legal import Possible
from lsrl.ir.schedules.rounds_stability import stability
from lsrl.ir.span import Span
from lsrl.ir.value import Value, depends_on, postorder
from lsrl.sentences import Sentences


@dataclass(frozen=True, slots=True)
class StateFact:
    """A state: what it holds, where it starts, which way it travels, and whether it feeds back into itself.

    `reverse` has the axes that it travels along from the end to the start.
    """

    name: str
    shape: str
    elements: int
    kind: str
    init: str
    axes: tuple[str, ...]
    reverse: tuple[str, ...]
    recurrent: bool
    place: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is known about a recurrence (`lsrl.ir.facts`), in a sentence, with its places."""

    name: str
    value: str
    sentence: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScheduleFact:
    """What a schedule says to a recurrence.

    Attributes:
        because: why it is legal or not.
        seconds, flops, bytes, steps: what a legal one costs by the model, `steps` of them one after the other.
        as_costed: the schedule with the options that the model filled in.
    """

    schedule: str
    legal: bool
    because: str
    as_costed: str = ""
    seconds: float | None = None
    flops: float | None = None
    bytes: float | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class RecurrenceFact:
    """States that need each other, and how they run.

    Attributes:
        reverse: the axes on which it runs from the end to the start.
        schedule: the schedule that it has.
        schedules: every schedule that there is, legal or not.
        way: what the target makes of the loop.
        reads: states of other recurrences that these need.
        together: states of other recurrences in the same loop.
        facts: what kind of recurrence it is.
    """

    states: tuple[str, ...]
    reverse: tuple[str, ...]
    schedule: str
    schedules: tuple[ScheduleFact, ...]
    way: str
    reads: tuple[str, ...]
    together: tuple[str, ...]
    facts: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class FusionFact:
    """Products with the same operand that are computed as one with a matrix of this shape."""

    products: tuple[str, ...]
    shape: str
    in_loop: bool


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
    device: str
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
    batch: int = 8
    length: int = 1024
    device: str | None = None

    @property
    def run(self) -> Run:
        """What schedules are weighed for."""
        place = self.device or stages.TASTES[self.target].device
        return Run(self.target, place, self.dtype, self.batch, self.length)


def explain(
    cell: Cell, sizes: Mapping[str, int], schedule: str, setting: Setting, assumed: tuple[str, ...] = ()
) -> Report:
    """Everything there is to tell about running a cell.

    Args:
        schedule: as `lsrl.schedule.resolve` reads it.

    Raises:
        PipelineError: forward and reversed states need each other.
        HowError, ScheduleError: the schedule makes no sense, or does not serve a recurrence.
        DeviceError: the setting's device is not described.
    """
    cell = along_one_axis(cell)
    if cell.axes == (GRAPH,):
        return _explain_graph(cell, sizes, schedule, setting, assumed)
    made = stages.make(cell, sizes, setting.target, schedule, setting.run)
    nest = tuple(loops(made.plan))
    return Report(
        name=cell.name,
        doc=cell.doc,
        axes=cell.axes,
        target=setting.target,
        device=setting.run.device,
        dtype=setting.dtype,
        sizes=dict(sizes),
        assumed=assumed,
        batch=setting.batch,
        length=setting.length,
        states=tuple(_states(cell, sizes)),
        recurrences=tuple(_recurrences(cell, made, stages.ways(made.plan, setting.target, setting.dtype), setting)),
        hoisted=tuple(_hoisted(made)),
        fused=tuple(_fused(made)),
        split=tuple(_split(made)),
        loops=nest,
        costs=_costs(cell, sizes, nest, setting),
    )


def _explain_graph(
    cell: Cell, sizes: Mapping[str, int], schedule: str, setting: Setting, assumed: tuple[str, ...]
) -> Report:
    """What there is to tell of a cell over a graph."""
    made = stages.make_graph(cell, sizes, setting.target, schedule)
    nest = tuple(graph_loops(made.plan))
    return Report(
        name=cell.name,
        doc=cell.doc,
        axes=cell.axes,
        target=setting.target,
        device=setting.run.device,
        dtype=setting.dtype,
        sizes=dict(sizes),
        assumed=assumed,
        batch=1,
        length=setting.length,
        states=tuple(_states(cell, sizes)),
        recurrences=tuple(_recurrences(cell, made, {}, setting, _stability(made.plan))),
        hoisted=(),
        fused=(),
        split=(),
        loops=nest,
        costs=_costs(cell, sizes, nest, replace(setting, batch=1)),
    )


def _stability(plan: GraphPlan) -> tuple[Finding, ...]:
    """What bounds states over a graph that are one system."""
    found = None if plan.system is None else stability(plan.cell, plan.system)
    return () if found is None else (_finding(found),)


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
            sentences.declared(_start(state.init)),
            state.axes,
            tuple(axis for axis in state.axes if axis in state.reverse),
            state.name in recurrent,
            _place(cell, leaf),
        )


def _start(value: Value) -> Value:
    """What a state starts at, before it is made as wide and of the kind that the state is."""
    while value.op in ("expand", "cast"):
        (value,) = value.args
    return value


def _recurrences(
    cell: Cell,
    made: stages.AnyMade,
    ways: Mapping[tuple[str, ...], str],
    setting: Setting,
    more: tuple[Finding, ...] = (),
) -> Iterator[RecurrenceFact]:
    """Every recurrence; `more` is told of each."""
    schedules = {directive.states: str(directive.how) for directive in made.schedule.directives}
    said = {each.names: tuple(_schedules(each, setting.run)) for each in made.recurrences}
    known = {found.states: tuple(map(_finding, found.facts)) for found in facts(cell)}
    for names in schedules:
        states = [cell.state(name) for name in names]
        loop = next((loop for loop in ways if names[0] in loop), ())
        others = [name for other in schedules if other != names for name in other]
        read = states_read(state.next for state in states)
        yield RecurrenceFact(
            names,
            tuple(axis for axis in cell.axes if axis in states[0].reverse),
            schedules[names],
            said.get(names, ()),
            way=ways.get(loop, ""),
            reads=tuple(name for name in read if name in others),
            together=tuple(name for name in loop if name not in names),
            facts=(*known[names], *more),
        )


def _schedules(found: Possible, run: Run) -> Iterator[ScheduleFact]:
    costs = {type(each.how): each for each in choose(found, run).costs}
    for said in found.verdicts:
        each = costs.get(type(said.how)) if said.legal else None
        told = (str(each.how), each.seconds, each.flops, each.bytes, each.steps) if each else ()
        yield ScheduleFact(said.word, said.legal, said.sentence, *told)


def _finding(fact: Fact) -> Finding:
    return Finding(fact.name, fact.value, fact.sentence, tuple(map(str, fact.spans)))


def _hoisted(made: stages.Made) -> Iterator[tuple[str, str]]:
    """The statements that give values computed for all positions at once, as they were written."""
    cell = made.plan.cell
    sentences = Sentences(cell)
    values = [value for stage in made.plan.stages if isinstance(stage, Parallel) for value in stage.values]
    found: dict[tuple[str, str], None] = {}
    for value, sentence in sentences.statements([value for value in values if value in cell.names], ()):
        spans = cell.spans.get(value, ())
        found.setdefault((_code(spans[0]) if spans else sentence, _place(cell, value)))
    yield from found


def _code(span: Span) -> str:
    """The line of source that a span begins on, without its comment."""
    return span.source.line(span.line).split("#")[0].strip()


def _fused(made: stages.Made) -> Iterator[FusionFact]:
    """The products over stacked matrices that the graph did not have before fusion."""
    before = set(postorder(made.split.all_roots()))
    sentences = Sentences(made.plan.cell)
    varying = depends_on(made.plan.cell.all_roots(), lambda value: value.op in VARYING)
    looped = {value for stage in made.plan.stages if isinstance(stage, Loop) for value in stage.body}
    for value in postorder(made.plan.cell.all_roots()):
        if value.op == "einsum" and value not in before:
            stacked = next((a for a in value.args if a.op == "concat" and a not in before and a not in varying), None)
            if stacked is not None:
                parts = [_product(value, stacked, part) for part in stacked.args]
                yield FusionFact(tuple(map(sentences.definition, parts)), shape_text(stacked.shape), value in looped)


def _product(value: Value, stacked: Value, part: Value) -> Value:
    """The product as it was with one of the matrices that were stacked."""
    args = tuple(part if arg is stacked else arg for arg in value.args)
    return ops.apply("einsum", *args, spec=value.attr("spec"))


def _split(made: stages.Made) -> Iterator[SplitFact]:
    """The products that fusion's predecessor took apart: those of a concatenation or a sum that are there no more."""
    after = set(postorder(made.split.all_roots()))
    sentences = Sentences(made.simple)
    for value in postorder(made.simple.all_roots()):
        parts = _mixed(value) if value.op == "einsum" and value not in after else ()
        if parts:
            yield SplitFact(sentences.definition(value), ", ".join(map(sentences.expression, parts)))


def _mixed(product: Value) -> tuple[Value, ...]:
    """What a product was distributed over; nothing if it is none of these."""
    joined = next((arg.args for arg in product.args if arg.op == "concat"), ())
    return joined or next((parts for arg in product.args if len(parts := pieces(arg)) > 1), ())


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
