"""The adjoint of a loop: again a cell over time, which runs the other way.

A loop maps arriving states h and what it reads x, position after position, to h' = f(h, x, p) and outputs
o = g(h, x, p).  With d_o the cotangents of the outputs and d_h' that of the state it passes on, the adjoint's step is

    d_h = (df/dh)^T d_h' + (dg/dh)^T d_o        its state, carried against the loop's direction
    d_x = (df/dx)^T d_h' + (dg/dx)^T d_o        an output at every position

with the derivatives at the loop's own solution, so it needs the state that arrived at each position as one more input.
It is affine in its states whatever the loop was.  A param's gradient is a sum over positions.  What is summed is the
cotangent of whatever the loop makes of params before it meets something that varies; the rest is done once, after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lsrl.ir import build, ops
from lsrl.ir.adjoint import cotangents
from lsrl.ir.cell import Cell, Input, Output, State
from lsrl.ir.laws import EXACT
from lsrl.ir.laws_padding import PADDING
from lsrl.ir.pipeline import VARYING
from lsrl.ir.rewrite import rewrite
from lsrl.ir.substitute import rebuild
from lsrl.ir.value import Kind, Value, depends_on, postorder


@dataclass(frozen=True, slots=True)
class LoopAdjoint:
    """The adjoint of a loop.

    Attributes:
        cell: runs against the loop.  Inputs: the loop's own, then the arriving states under the names of the states,
            then the cotangents of outputs; params: the loop's; states: the cotangents of states, which start with those
            of the loop's last states and end as those of its initial states; outputs: the cotangents of inputs, then
            what is to be summed.
        states: the name of the adjoint's state for every differentiable state of the loop.
        seeds: the name of the adjoint's input for every differentiable output of the loop.
        inputs: the name of the adjoint's output for every differentiable input of the loop.
        summed: the adjoint's outputs of which only the sum over batch and positions is wanted.
        params: for every differentiable param its gradient, made of the loop's params and of leaves `param` that stand
            for the sums.
    """

    cell: Cell
    states: Mapping[str, str]
    seeds: Mapping[str, str]
    inputs: Mapping[str, str]
    summed: tuple[str, ...]
    params: Mapping[str, Value]


def loop_adjoint(cell: Cell) -> LoopAdjoint:
    """The adjoint of a cell whose states all run the same way, each along one axis: forward, or backward on all axes.

    Cotangents of complex values follow PyTorch's convention, as in `lsrl.ir.adjoint`.
    """
    assert all(len(state.axes) == 1 for state in cell.states), cell.name
    assert len({state.reverse for state in cell.states}) < 2, cell.name
    assert all(state.reverse in (frozenset(), frozenset(cell.axes)) for state in cell.states), cell.name
    return _Adjoint(cell).made()


def differentiable(kind: Kind) -> bool:
    return kind in (Kind.FLOAT, Kind.COMPLEX)


class _Adjoint:
    """A loop with its states read as inputs, and the names of what is added."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        arriving = {v: ops.leaf("input", s.name, s.shape, s.kind) for s in cell.states for v in _leaves(cell, s)}
        done = rebuild(cell.roots(), arriving)
        self.nexts = {s: done[s.next] for s in cell.states if differentiable(s.kind)}
        self.outputs = [replace(o, value=done[o.value]) for o in cell.outputs if differentiable(o.value.kind)]
        self.roots = (*self.nexts.values(), *(o.value for o in self.outputs))
        taken = (*(i.name for i in cell.inputs), *(p.name for p in cell.params), *(s.name for s in cell.states))
        self.fresh = _Fresh((*taken, *(o.name for o in cell.outputs)))
        self.done = done

    def made(self) -> LoopAdjoint:
        cell, fresh = self.cell, self.fresh
        states = {state: fresh(f"d_{state.name}") for state in self.nexts}
        seeds = {output: fresh(f"d_{output.name}") for output in self.outputs}
        given = [
            *(ops.state(name, s.axes[0], s.shape, s.kind) for s, name in states.items()),
            *(ops.leaf("input", name, o.value.shape, o.value.kind) for o, name in seeds.items()),
        ]
        inputs = [each for each in cell.inputs if differentiable(each.kind)]
        leaves = [ops.leaf("input", s.name, s.shape, s.kind) for s in self.nexts]
        leaves += [ops.leaf("input", each.name, each.shape, each.kind) for each in inputs]
        frontier = self.frontier()
        wrt = [*leaves, *frontier]
        found = dict(zip(wrt, cotangents(self.roots, given, wrt, independent=True)))
        own = {each.name: fresh(f"d_{each.name}") for each in inputs}
        sums = {value: self.summed(value, found[value]) for value in frontier}
        outputs = [Output(own[each.name], found[leaf]) for each, leaf in zip(inputs, leaves[len(states) :])]
        outputs += sums.values()
        turned = tuple(
            _state(name, state, found[leaf], cell.axes)
            for (state, name), leaf in zip(states.items(), leaves, strict=False)
        )
        adjoint = replace(
            cell,
            name=f"{cell.name} adjoint",
            inputs=(*cell.inputs, *self.arriving(), *(Input(n, o.value.shape, o.value.kind) for o, n in seeds.items())),
            states=turned,
            outputs=tuple(outputs),
            names={self.done[v]: name for v, name in cell.names.items() if v in self.done},
            spans={self.done[v]: spans for v, spans in cell.spans.items() if v in self.done},
        )
        return LoopAdjoint(
            rewrite(adjoint, (*EXACT, *PADDING)),
            {state.name: name for state, name in states.items()},
            {output.name: name for output, name in seeds.items()},
            own,
            tuple(total.name for total in sums.values()),
            self.gradients(sums),
        )

    def arriving(self) -> tuple[Input, ...]:
        return tuple(Input(state.name, state.shape, state.kind) for state in self.cell.states)

    def frontier(self) -> list[Value]:
        """Values made of params alone that something varying uses, or that a root is; repetition counts as use."""
        roots = self.roots
        learned = depends_on(roots, lambda value: value.op == "param")
        varying = depends_on(roots, lambda value: value.op in VARYING)
        used = [*roots, *(arg for value in postorder(roots) if value in varying for arg in value.args)]
        stack, found = used[::-1], dict[Value, None]()
        while stack:
            value = stack.pop()
            if value not in learned or value in varying or not differentiable(value.kind):
                continue
            if value.op == "expand":
                stack.append(value.args[0])
            else:
                found[value] = None
        return list(found)

    def summed(self, value: Value, cotangent: Value) -> Output:
        """What is to be summed for one static value."""
        base = "d_" + (str(value.attr("name")) if not value.args else self.cell.names.get(value, "static"))
        return Output(self.fresh(base), cotangent)

    def gradients(self, sums: Mapping[Value, Output]) -> dict[str, Value]:
        """The gradient of each param, from the sums: once, not for every position."""
        params = [param for param in self.cell.params if differentiable(param.kind)]
        leaves = [ops.leaf("param", param.name, param.shape, param.kind) for param in params]
        totals = [ops.leaf("param", total.name, value.shape, value.kind) for value, total in sums.items()]
        found = cotangents(list(sums), totals, leaves)
        return {param.name: gradient for param, gradient in zip(params, found)}


def _leaves(cell: Cell, state: State) -> Iterable[Value]:
    return (v for v in postorder(cell.roots()) if v.op == "state" and v.attr("name") == state.name)


def _state(name: str, state: State, cotangent: Value, axes: Iterable[str]) -> State:
    start = build.zeros(state.shape, state.kind)
    return State(name, state.shape, state.kind, state.axes, start, cotangent, frozenset(axes) - state.reverse)


class _Fresh:
    """Names that nothing else has."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def __call__(self, wanted: str) -> str:
        found, number = wanted, 2
        while found in self._taken:
            found, number = f"{wanted}_{number}", number + 1
        self._taken.add(found)
        return found
