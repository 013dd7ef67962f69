"""Cells built from their values: declarations are read off the leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Input, Noise, Output, Param, Size, State
from lsrl.ir.dims import Dim, DimLike
from lsrl.ir.value import Domain, Kind, Value, postorder

NORMAL = Distribution("normal")


def input_(name: str, *shape: DimLike, kind: Kind = Kind.FLOAT, domain: Domain = Domain.NONE) -> Value:
    return ops.leaf("input", name, tuple(Dim.of(d) for d in shape), kind, domain)


def param(name: str, *shape: DimLike, kind: Kind = Kind.FLOAT) -> Value:
    return ops.leaf("param", name, tuple(Dim.of(d) for d in shape), kind)


def arrives(
    name: str, *shape: DimLike, axis: str = "t", kind: Kind = Kind.FLOAT, domain: Domain = Domain.NONE
) -> Value:
    return ops.state(name, axis, tuple(Dim.of(d) for d in shape), kind, domain)


def state(leaf: Value, following: Value, init: Value | float = 0.0, *others: Value, reverse: bool = False) -> State:
    """The state whose leaf is `leaf`; `others` are its leaves along further axes."""
    start = build.full(leaf.shape, build.cast(build.value(init), leaf.kind))
    axes = tuple(str(each.attr("axis")) for each in (leaf, *others))
    name = str(leaf.attr("name"))
    turned = frozenset(axes if reverse else ())
    return State(name, leaf.shape, leaf.kind, axes, start, following, turned, leaf.domain)


def cell_of(
    outputs: Mapping[str, Value],
    states: Sequence[State] = (),
    axes: tuple[str, ...] = ("t",),
    bounds: Mapping[str, DimLike] | None = None,
    inits: Mapping[str, Distribution] | None = None,
) -> Cell:
    """A cell with these outputs and states; inputs, params, noises and sizes are those that the values name."""
    roots = [*outputs.values(), *(s.next for s in states), *(s.init for s in states)]
    leaves = {op: [v for v in postorder(roots) if v.op == op] for op in ("input", "param", "noise")}
    sizes = {name for value in postorder(roots) for dim in value.shape for name in dim.names}
    limit = {name: Dim.of(dim) for name, dim in (bounds or {}).items()}
    drawn = inits or {}
    return Cell(
        name="tested",
        doc="",
        sizes=tuple(Size(name) for name in sorted(sizes)),
        axes=axes,
        inputs=tuple(Input(_name(v), v.shape, v.kind, limit.get(_name(v)), v.domain) for v in leaves["input"]),
        params=tuple(Param(_name(v), v.shape, v.kind, drawn.get(_name(v), NORMAL)) for v in leaves["param"]),
        noises=tuple(Noise(_name(v), v.shape, NORMAL, v.domain) for v in leaves["noise"]),
        states=tuple(states),
        outputs=tuple(Output(name, value) for name, value in outputs.items()),
    )


def _name(leaf: Value) -> str:
    return str(leaf.attr("name"))
