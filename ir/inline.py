"""Using a cell inside another: its graph with other sizes, inputs and names.

`instantiate` re-infers the type of every operation, so what comes out is as well checked as what went in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lsrl.ir import ops
from lsrl.ir.cell import Cell, Distribution, Noise, Param, Requirement, State
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.infer import dim
from lsrl.ir.span import Span
from lsrl.ir.substitute import moved_names, moved_spans
from lsrl.ir.value import Attr, Value, postorder


@dataclass(frozen=True)
class Instance:
    """What a used cell adds to the cell that uses it; fields as in `Cell`."""

    outputs: Mapping[str, Value]
    params: tuple[Param, ...]
    noises: tuple[Noise, ...]
    states: tuple[State, ...]
    requires: tuple[Requirement, ...]
    names: Mapping[Value, str]
    spans: Mapping[Value, tuple[Span, ...]]


@dataclass(frozen=True)
class Place:
    """Where a used cell goes.

    Attributes:
        sizes: what each of its sizes is, in sizes of the user.
        inputs: the value of each of its inputs.
        prefix: of the names of its states and noises, and of its values.
        params: of the names of its parameters.
        reverse: the axes on which it runs from the end to the start; twice reversed is forward.
    """

    sizes: Mapping[str, Dim]
    inputs: Mapping[str, Value]
    prefix: str
    params: str
    reverse: frozenset[str] = frozenset()


def instantiate(cell: Cell, place: Place) -> Instance:
    """The parts of `cell` at `place`.

    Raises:
        DimError: a size has no meaning with the sizes given, for instance a division by zero.
        Fault: an input has another type than the cell declares.
    """
    dims = _Dims(place.sizes)
    done: dict[Value, Value] = {}
    for value in postorder(cell.all_roots()):
        done[value] = _placed(value, [done[arg] for arg in value.args], place, dims)

    def drawn(distribution: Distribution) -> Distribution:
        return replace(distribution, args=tuple(done[arg] for arg in distribution.args))

    return Instance(
        {output.name: done[output.value] for output in cell.outputs},
        tuple(
            replace(p, name=place.params + p.name, shape=dims.shape(p.shape), init=drawn(p.init)) for p in cell.params
        ),
        tuple(
            replace(n, name=place.prefix + n.name, shape=dims.shape(n.shape), draw=drawn(n.draw)) for n in cell.noises
        ),
        tuple(
            replace(
                state,
                name=place.prefix + state.name,
                shape=dims.shape(state.shape),
                init=done[state.init],
                next=done[state.next],
                reverse=state.reverse ^ place.reverse,
            )
            for state in cell.states
        ),
        tuple(replace(r, dim=dims.dim(r.dim)) for r in cell.requires),
        {value: place.prefix + name for value, name in moved_names(cell.names, done).items()},
        moved_spans(cell.spans, done),
    )


@dataclass(frozen=True, slots=True)
class _Dims:
    """Sizes replaced by others; what a dim becomes is computed once."""

    sizes: Mapping[str, Dim]
    known: dict[Dim, Dim] = field(default_factory=dict)

    def dim(self, dim: Dim) -> Dim:
        if dim not in self.known:
            self.known[dim] = dim.substitute(self.sizes)
        return self.known[dim]

    def shape(self, shape: Shape) -> Shape:
        return tuple(self.dim(dim) for dim in shape)

    def attr(self, attr: Attr) -> Attr:
        match attr:
            case Dim():
                return self.dim(attr)
            case tuple():
                return tuple(self.attr(item) for item in attr)
            case _:
                return attr


def _placed(value: Value, args: list[Value], place: Place, dims: _Dims) -> Value:
    match value.op:
        case "const":
            return value
        case "size":
            return ops.size(dim(dims.attr(value.attr("dim"))))
        case "iota":
            return ops.iota(dims.dim(value.shape[0]))
        case "input":
            return place.inputs[str(value.attr("name"))]
        case "param":
            return ops.leaf("param", place.params + str(value.attr("name")), dims.shape(value.shape), value.kind)
        case "noise":
            name = place.prefix + str(value.attr("name"))
            return ops.leaf("noise", name, dims.shape(value.shape), value.kind, value.domain)
        case "state":
            name = place.prefix + str(value.attr("name"))
            return ops.state(name, str(value.attr("axis")), dims.shape(value.shape), value.kind, value.domain)
    return ops.apply(value.op, *args, **{name: dims.attr(attr) for name, attr in value.attrs})
