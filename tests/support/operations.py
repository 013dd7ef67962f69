"""Cells that hold one operation, at all positions at once or inside of a loop: for tests of what backends print."""

from __future__ import annotations

from random import Random

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Input, Output, Param, Size, State
from lsrl.ir.ops import OPS, Family
from lsrl.ir.value import Kind, Value, postorder
from support.graphs import Grower

SIZES = {"H": 4, "D": 6}
NAMES = [name for name, row in OPS.items() if row.family is not Family.GRAPH]


def cell_of(values: list[Value], states: tuple[State, ...] = ()) -> Cell:
    """A cell that outputs the values."""
    leaves = list(postorder([*values, *(s.next for s in states)]))
    return Cell(
        name="operations",
        doc="",
        sizes=(Size("H"), Size("D")),
        axes=("t",),
        inputs=tuple(
            Input(str(v.attr("name")), v.shape, v.kind) for v in leaves if v.op == "input"
        ),
        params=tuple(
            Param(str(v.attr("name")), v.shape, v.kind, Distribution("normal")) for v in leaves if v.op == "param"
        ),
        noises=(),
        states=states,
        outputs=tuple(Output(f"o{place}", value) for place, value in enumerate(values)),
    )


def with_recurrence(value: Value) -> tuple[Value, State]:
    """The value computed from an operand that depends on a state, which depends on the value: it stays in the loop."""
    s = ops.state("s", "t", (), Kind.FLOAT)
    leaf = next(v for v in postorder([value]) if v.op in ("input", "param"))
    moved = substituted(value, {leaf: shifted(leaf, s)})
    parts = build.unary("re", moved) if moved.kind is Kind.COMPLEX else build.cast(moved, Kind.FLOAT)
    total = build.unary("tanh", build.mul(build.reduce("reduce_sum", parts), 0.01))
    following = build.where(build.binary("eq", total, total), total, 0)
    return moved, State("s", (), Kind.FLOAT, ("t",), build.zeros(()), following)


def shifted(leaf: Value, s: Value) -> Value:
    """The leaf, changed by the state in a way that keeps its kind."""
    positive = build.binary("gt", s, 0)
    match leaf.kind:
        case Kind.BOOL:
            return build.binary("xor", leaf, positive)
        case Kind.INT:
            return build.sub(build.mul(2, leaf), build.cast(positive, Kind.INT))
        case _:
            return build.add(leaf, s)


def substituted(value: Value, table: dict[Value, Value]) -> Value:
    """The value with leaves replaced where its operations use them."""
    done = dict(table)
    for each in postorder([value]):
        if each not in done:
            args = [done[arg] for arg in each.args]
            done[each] = ops.apply(each.op, *args, **dict(each.attrs)) if args else each
    return done[value]


def renamed(value: Value, case: int) -> Value:
    """The value on leaves of its own."""
    leaves = [v for v in postorder([value]) if v.op in ("input", "param")]
    table = {v: ops.leaf(v.op, f"{v.attr('name')}_{case}", v.shape, v.kind) for v in leaves}
    return substituted(value, table)


def grown(op: str, seed: int) -> Value:
    """A random application of an operation; false is a zero, and whole numbers divided by it are undefined."""
    random = Random(seed)
    while True:
        value = Grower(random).grow(op)
        if op not in ("mod", "floordiv") or all(arg.kind is not Kind.BOOL for arg in value.args):
            return value
