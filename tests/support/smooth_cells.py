"""Random cells whose states feed back through smooth operations, so that every gradient is a number worth comparing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from lsrl.ir import build, ops
from lsrl.ir.build import add, einsum, mul, unary
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.substitute import rebuild
from lsrl.ir.value import Value
from support.cells import arrives, cell_of, input_, param, state

H, K = Dim.of("H"), Dim.of("K")
Maker = Callable[[Callable[[Shape], Value]], Value]

MAKERS: tuple[Maker, ...] = (
    lambda one: add(one((H,)), one((H,))),
    lambda one: mul(one((H,)), one((H,))),
    lambda one: mul(one((H, K)), one((H, K))),
    lambda one: add(one((H, K)), one((H, K))),
    lambda one: mul(one((K,)), one(())),
    lambda one: unary("tanh", one((H,))),
    lambda one: unary("sigmoid", one((K,))),
    lambda one: unary("exp", unary("tanh", one((H, K)))),
    lambda one: einsum("ij,j->i", one((H, K)), one((K,))),
    lambda one: einsum("ij,i->j", one((H, K)), one((H,))),
    lambda one: einsum("i,j->ij", one((H,)), one((K,))),
    lambda one: einsum("ij,kj,k->i", one((H, K)), one((H, K)), one((H,))),
    lambda one: build.reduce("reduce_sum", one((H, K)), [0]),
    lambda one: build.expand(one((K,)), (H, K), [0]),
    lambda one: build.dot(one((H,)), one((H,))),
    lambda one: build.softmax(one((K,))),
    lambda one: build.where(build.binary("lt", one((H,)), one((H,))), one((H,)), one((H,))),
    lambda one: build.concat(build.split(one((H,)), 3)[::-1]),
    lambda one: ops.apply("flip", one((H, K)), axis=0),
    lambda one: build.binary("max", one((K,)), one((K,))),
)


def smooth_cell(random: Random, operations: int = 14, *, reverse: bool = False) -> Cell:
    """A cell with a state of each shape; sizes are H, a multiple of three, and K."""
    leaves = [arrives("h", H), arrives("k", K), arrives("S", H, K), arrives("c")]
    pool = [*leaves, input_("x", H), input_("y", K), input_("z"), input_("M", H, K)]
    pool += [param("w", H), param("u", K), param("W", H, K), param("b")]

    def one(shape: Shape) -> Value:
        """A value of that shape; recent ones are likelier."""
        fitting = [value for value in pool if value.shape == shape]
        return random.choice(fitting[-4:] if random.random() < 0.6 else fitting)

    for _ in range(operations):
        pool.append(random.choice(MAKERS)(one))
    nexts = [unary("tanh", add(mul(0.5, leaf), one(leaf.shape))) for leaf in leaves]
    kept = random.sample(range(len(leaves)), random.randint(1, len(leaves)))
    states = [state(leaves[n], nexts[n], reverse=reverse) for n in kept]
    outputs = {"o": one((H,)), "p": one((H, K)), "q": nexts[kept[0]]}
    return _without({leaf for n, leaf in enumerate(leaves) if n not in kept}, cell_of(outputs, states))


def _without(dropped: set[Value], cell: Cell) -> Cell:
    """The cell with arriving values that no state carries as inputs."""
    table = {leaf: input_(f"in_{leaf.attr('name')}", *leaf.shape) for leaf in dropped}
    done = rebuild(cell.roots(), table)
    carried = [arrives(each.name, *each.shape) for each in cell.states]
    states = [state(leaf, done[s.next], reverse=bool(s.reverse)) for leaf, s in zip(carried, cell.states, strict=True)]
    return cell_of({output.name: done[output.value] for output in cell.outputs}, states)
