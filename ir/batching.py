"""Giving a cell a leading axis of heads: one rule per family of operations.

`with_heads` turns a cell written for one head into the cell of all heads.  Whatever does not depend on a head (shared
inputs and parameters, constants, and what is computed from them) stays as it is and is computed once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.ir import build, fault, ops
from lsrl.ir.cell import Cell, Distribution, State
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.fault import Fault
from lsrl.ir.infer import dims, integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.substitute import moved_names, moved_spans
from lsrl.ir.value import Attr, Value, intern, postorder


@dataclass(frozen=True, slots=True)
class Lifted:
    """What becomes of a value: itself, or (`headed`) its values for all heads along a new first axis."""

    value: Value
    headed: bool


def head(heads: Dim) -> Value:
    """The number of the head, an int, in a cell that is written for one head: `with_heads` makes it 0, 1, ..., N-1."""
    return ops.apply("select", ops.iota(heads), axis=0, index=Dim.of("the head"))


def with_heads(cell: Cell, heads: Dim, shared: Collection[str]) -> Cell:
    """The cell with a leading axis of `heads` on every input, param, noise, state and output not named in `shared`.

    Hidden states get the axis when what they hold has it.

    Raises:
        Fault: a shared state depends on the head, or an operation has no form over heads.
    """
    number = head(heads)
    plain = set(shared) | _plain_hidden(cell, shared, number)
    leaves = {v: _leaf(v, heads) for v in postorder(cell.all_roots()) if _has_heads(v, plain)}
    leaves[number] = ops.iota(heads)
    done = lifted(cell.all_roots(), leaves, heads)

    def full(value: Value) -> Value:
        return _spread(done[value], heads)

    def init(distribution: Distribution, shape: Shape) -> Distribution:
        return replace(distribution, args=tuple(_initial(done[arg], (heads, *shape)) for arg in distribution.args))

    def state(state: State) -> State:
        if state.name not in plain:
            return replace(state, shape=(heads, *state.shape), init=full(state.init), next=full(state.next))
        if done[state.next].headed:
            raise Fault(fault.SHAPES_DIFFER, f"the shared state {state.name} differs from head to head")
        return replace(state, init=done[state.init].value, next=done[state.next].value)

    moved = {value: lift.value for value, lift in done.items()}
    return replace(
        cell,
        heads=heads,
        inputs=tuple(i if i.name in plain else replace(i, shape=(heads, *i.shape)) for i in cell.inputs),
        params=tuple(
            p if p.name in plain else replace(p, shape=(heads, *p.shape), init=init(p.init, p.shape))
            for p in cell.params
        ),
        noises=tuple(n if n.name in plain else replace(n, shape=(heads, *n.shape)) for n in cell.noises),
        states=tuple(state(s) for s in cell.states),
        outputs=tuple(replace(o, value=full(o.value)) for o in cell.outputs),
        names=moved_names(cell.names, moved),
        spans=moved_spans(cell.spans, moved),
    )


def lifted(roots: Iterable[Value], leaves: Mapping[Value, Value], heads: Dim) -> dict[Value, Lifted]:
    """Every value the roots depend on with its lifted form, given that of some leaves; see the module's docstring."""
    done: dict[Value, Lifted] = {}
    for value in postorder(roots):
        args = [done[arg] for arg in value.args]
        if value in leaves:
            done[value] = Lifted(leaves[value], True)
        elif not any(arg.headed for arg in args):
            done[value] = Lifted(value, False)
        else:
            done[value] = Lifted(_lift(value, args, heads), True)
    return done


def _plain_hidden(cell: Cell, shared: Collection[str], number: Value) -> set[str]:
    """Hidden states that hold nothing which differs from head to head."""
    plain = {state.name for state in cell.states if state.hidden}
    while True:
        done = {v for v in postorder(cell.all_roots()) if v is number or _has_heads(v, {*shared, *plain})}
        for value in postorder(cell.all_roots()):
            if any(arg in done for arg in value.args):
                done.add(value)
        headed = {s.name for s in cell.states if s.name in plain and (s.next in done or s.init in done)}
        if not headed:
            return plain
        plain -= headed


def _has_heads(value: Value, plain: Collection[str]) -> bool:
    return value.op in ("input", "param", "noise", "state") and value.attr("name") not in plain


def _leaf(value: Value, heads: Dim) -> Value:
    return intern(value.op, (), value.attrs, (heads, *value.shape), value.kind, value.domain)


def _spread(lift: Lifted, heads: Dim) -> Value:
    """The value with the axis of heads, repeated where all heads agree."""
    return lift.value if lift.headed else build.expand(lift.value, (heads, *lift.value.shape), [0])


def _initial(lift: Lifted, shape: Shape) -> Value:
    """The argument of a distribution over all heads: a number stays one where heads agree, and fills them else."""
    rank = lift.value.rank
    if lift.headed:
        return lift.value if rank == len(shape) else build.expand(lift.value, shape, range(rank, len(shape)))
    return _spread(lift, shape[0]) if rank and rank == len(shape) - 1 else lift.value


def _lift(value: Value, args: Sequence[Lifted], heads: Dim) -> Value:
    match family(value.op):
        case Family.ELEMENTWISE:
            return ops.apply(value.op, *(_fitted(arg, value, heads) for arg in args), **dict(value.attrs))
        case Family.CONTRACTION:
            return _einsum(value, args)
        case Family.STENCIL:
            return _stencil(value, [_spread(arg, heads) for arg in args], heads)
        case Family.SYSTEM:
            return ops.apply(value.op, *(_spread(arg, heads) for arg in args))
        case Family.GRAPH:
            return ops.apply(value.op, args[0].value, **dict(value.attrs))
    if value.op == "gather" and not args[0].headed and value.attr("axis") == 0 and value.attr("batch") == 0:
        return ops.apply("gather", args[0].value, args[1].value, axis=0, batch=0)
    attrs = {name: _shifted(name, attr, heads) for name, attr in value.attrs}
    return ops.apply(value.op, *(_spread(arg, heads) for arg in args), **attrs)


def _fitted(arg: Lifted, result: Value, heads: Dim) -> Value:
    """An operand of an element-wise operation: a scalar per head is repeated over the elements it meets."""
    shape = (heads, *result.shape)
    if arg.headed:
        rank = arg.value.rank
        return arg.value if rank == len(shape) else build.expand(arg.value, shape, range(rank, len(shape)))
    return build.expand(arg.value, shape, [0]) if arg.value.rank else arg.value


def _einsum(value: Value, args: Sequence[Lifted]) -> Value:
    operands, result = str(value.attr("spec")).split("->")
    free = next((letter for letter in build.LETTERS if letter not in operands), None)
    if free is None:
        raise Fault(fault.EINSUM_SPEC, "an einsum over heads has too many axes")
    lettered = [free + axes if arg.headed else axes for axes, arg in zip(operands.split(","), args, strict=True)]
    return build.einsum(f"{','.join(lettered)}->{free}{result}", *(arg.value for arg in args))


def _stencil(value: Value, args: Sequence[Value], heads: Dim) -> Value:
    """A convolution per head is one convolution with as many more groups of channels."""
    number = heads.constant
    if number is None:
        raise Fault(
            fault.SIZE_MEANINGLESS,
            "a convolution per head needs a number of heads",
            str(heads),
            remedy="write the number, `heads 4`, or mark the convolution's operands `shared`",
        )
    merged = [build.reshape(arg, (arg.shape[0] * arg.shape[1], *arg.shape[2:])) for arg in args]
    attrs = dict(value.attrs) | {"groups": integer(value.attr("groups")) * number}
    if "shape" in attrs:
        first, *rest = dims(attrs["shape"])
        attrs["shape"] = (first * number, *rest)
    return build.reshape(ops.apply(value.op, *merged, **attrs), (heads, *value.shape))


def _shifted(name: str, attr: Attr, heads: Dim) -> Attr:
    """An attribute of a layout or reduction, for operands with one more axis in front."""
    match name:
        case "axis" | "batch":
            return integer(attr) + 1
        case "axes":
            return tuple(axis + 1 for axis in integers(attr))
        case "perm":
            return (0, *(axis + 1 for axis in integers(attr)))
        case "shape":
            return (heads, *dims(attr))
        case _:
            return attr
