"""Real-time recurrent learning: the gradient of a run, computed forward, as a transformation of the graph.

Beside the states run their derivatives by every param and by the states' first values (`lsrl.ir.traces`), and the
gradients that the outputs so far amount to.  Memory does not grow with the length of the sequence, and gradients are
there at every position.  They are exact: those of reverse mode.  Williams and Zipser, 1989, is the idea; that it is
cheap for element-wise recurrences, Mozer, 1989, and Irie, Gopalakrishnan and Schmidhuber, 2024 (arXiv:2305.19044).

The gradient by inputs is not part of it: it needs what comes later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from lsrl.ir import build, ops
from lsrl.ir.adjoint import cotangents
from lsrl.ir.cell import TIME, Cell, Input, Output, State
from lsrl.ir.facts.relations import Coupling, jacobian, meeting
from lsrl.ir.fault import Refusal
from lsrl.ir.pipeline import Component, components
from lsrl.ir.traces import Source, Trace, arriving, following, traces, weighed
from lsrl.ir.value import Kind, Value

ELEMENT_WISE = (Coupling.DIAGONAL, Coupling.PER_UNIT)


class RtrlError(Refusal):
    """A program whose derivatives do not run forward at a reasonable cost; the message says why, and the line."""


def forward_cell(cell: Cell) -> Cell:
    """The cell with traces and gradients as states; it has no outputs.

    Its inputs are the cell's and `cotangent.NAME`, of every output that has a derivative.  Its states are the cell's,
    the traces, and the gradients by what the outputs read: `gradient.NAME` by a param, `gradient.state.NAME` by a
    state's first value.

    Raises:
        RtrlError: a recurrence is not element-wise, runs from the end, or is complex.
    """
    parts = _parts(cell)
    seeds = {o.name: ops.leaf("input", f"cotangent.{o.name}", o.value.shape, Kind.FLOAT) for o in parts.outputs}
    wrt = [*(arriving(state) for state in parts.states), *(source.leaf for source in parts.params)]
    pulled = cotangents([output.value for output in parts.outputs], list(seeds.values()), wrt)
    reached = dict(zip(wrt, pulled, strict=True))

    def gradient(source: Source) -> State:
        before = _gradient(source)
        total = build.add(before, reached[source.leaf]) if source in parts.params else before
        for trace in parts.of(source):
            total = build.add(total, weighed(reached[arriving(trace.state)], trace, trace.leaf))
        return _state(before, build.zeros(before.shape), total)

    moving = [_state(trace.leaf, trace.start, following(trace, parts.traces, parts.states)) for trace in parts.traces]
    return replace(
        cell,
        name=f"{cell.name}_forward",
        inputs=(*cell.inputs, *(_input(seed) for seed in seeds.values())),
        states=(*cell.states, *moving, *(gradient(source) for source in parts.sources)),
        outputs=(),
    )


def ending_cell(cell: Cell, given: Collection[str]) -> Cell:
    """What becomes of the last states of `forward_cell`: a cell for one position, with the gradients as outputs.

    Its inputs are the traces and gradients, and `cotangent.state.NAME` of each final state; its outputs are named as
    the gradients, and have a batch: those by params are still to be summed over it.

    Args:
        given: states that started where the caller said.  The others pass what reaches them on to the params that
            they started from.

    Raises:
        RtrlError: as `forward_cell`.
    """
    parts = _parts(cell)
    ends = {s.name: ops.leaf("input", f"cotangent.state.{s.name}", s.shape, s.kind) for s in parts.states}
    last = {leaf: ops.leaf("input", _name(leaf), leaf.shape, leaf.kind) for leaf in parts.leaves()}
    reached = {source.name: last[_gradient(source)] for source in parts.sources}
    for trace in parts.traces:
        part = weighed(ends[trace.state.name], trace, last[trace.leaf])
        reached[trace.source.name] = build.add(reached[trace.source.name], part)
    begun = [state for state in parts.states if state.name not in given]
    seeds = [reached[f"state.{state.name}"] for state in begun]
    starts = cotangents([state.init for state in begun], seeds, [source.leaf for source in parts.params])
    for source, start in zip(parts.params, starts, strict=True):
        reached[source.name] = build.add(reached[source.name], start)
    return replace(
        cell,
        name=f"{cell.name}_ending",
        inputs=tuple(_input(leaf) for leaf in (*ends.values(), *last.values())),
        noises=(),
        states=(),
        outputs=tuple(Output(_name(_gradient(source)), reached[source.name]) for source in parts.sources),
        names={},
        spans={},
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What has a derivative: states, params, outputs; and the traces of the states."""

    states: tuple[State, ...]
    params: tuple[Source, ...]
    outputs: tuple[Output, ...]
    traces: tuple[Trace, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        return (*self.params, *(Source(f"state.{state.name}", arriving(state)) for state in self.states))

    def of(self, source: Source) -> Iterator[Trace]:
        return (trace for trace in self.traces if trace.source == source)

    def leaves(self) -> tuple[Value, ...]:
        """Traces and gradients as they arrive."""
        return (*(trace.leaf for trace in self.traces), *(_gradient(source) for source in self.sources))


def _parts(cell: Cell) -> _Parts:
    _check(cell)
    states = tuple(state for state in cell.states if state.kind is Kind.FLOAT)
    leaves = [ops.leaf("param", p.name, p.shape, p.kind) for p in cell.params if p.kind is Kind.FLOAT]
    params = tuple(Source(_name(leaf), leaf) for leaf in leaves)
    outputs = tuple(output for output in cell.outputs if output.value.kind is Kind.FLOAT)
    return _Parts(states, params, outputs, traces(states, params))


def _name(leaf: Value) -> str:
    return str(leaf.attr("name"))


def _gradient(source: Source) -> Value:
    """The gradient by a source as it arrives."""
    return ops.state(f"gradient.{source.name}", TIME, source.leaf.shape, Kind.FLOAT)


def _state(leaf: Value, start: Value, following: Value) -> State:
    return State(_name(leaf), leaf.shape, leaf.kind, (TIME,), start, following)


def _input(leaf: Value) -> Input:
    return Input(_name(leaf), leaf.shape, leaf.kind)


def _check(cell: Cell) -> None:
    if cell.axes != (TIME,):
        raise RtrlError(f"{cell.name} runs over {', '.join(cell.axes)}; rtrl runs forward along the single axis {TIME}")
    for state in cell.states:
        if state.reverse:
            raise RtrlError(f"`{state.name}` runs from the end of the sequence, and rtrl forward with the positions")
    arrays = [*((s.name, s.kind) for s in cell.states), *((p.name, p.kind) for p in cell.params)]
    for name, kind in (*arrays, *((output.name, output.value.kind) for output in cell.outputs)):
        if kind is Kind.COMPLEX:
            raise RtrlError(f"`{name}` is complex, and rtrl has derivatives by real numbers only")
    for part in components(cell):
        found = jacobian(part.states).kind
        if part.cyclic and found not in ELEMENT_WISE:
            raise RtrlError(_refusal(cell, part, found))


def _refusal(cell: Cell, part: Component, found: Coupling) -> str:
    """Which recurrence is not element-wise, and where its elements meet."""
    names = ", ".join(f"`{state.name}`" for state in part.states)
    why = f"the Jacobian of {names} is {found.value}, not diagonal or a block per unit"
    place = meeting(part.states)
    spans = cell.spans.get(place, ()) if place is not None else ()
    where = f": elements meet in `{spans[0].text}` (line {spans[0].line})" if spans else ""
    return f"{why}{where}; rtrl is for element-wise recurrences, reverse mode for every one"
