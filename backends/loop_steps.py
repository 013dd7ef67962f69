"""A loop taken apart at its products with matrices of parameters, for loops that no single kernel holds.

At each position PyTorch computes the products, and a kernel the rest, which reads them like any other input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.loop_cell import VIEWS, LoopCell
from lsrl.backends.naming import Names
from lsrl.ir import ops
from lsrl.ir.cell import Input
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan_groups import is_static_product
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Kind, Value, depends_on, postorder


@dataclass(frozen=True, slots=True)
class LoopSteps:
    """A loop position by position.

    Attributes:
        products: values of the whole loop that PyTorch computes first.
        rest: what remains; it reads the products after everything that the whole loop reads.
    """

    products: tuple[Value, ...]
    rest: LoopCell

    @property
    def operations(self) -> int:
        """How many operations PyTorch has at each position."""
        varying = depends_on(self.products, lambda value: value.op in VARYING)
        return sum(bool(value.args) and value.op not in VIEWS for value in varying)


def loop_steps(loop: LoopCell, names: Names) -> LoopSteps:
    """The loop taken apart.

    Args:
        names: of the values of the loop's cell.

    Raises:
        NoKernel: there are no such products, or one needs another.
    """
    cell = loop.cell
    roots = tuple(cell.roots())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    products = _products(roots, varying)
    if not products:
        raise NoKernel("it has no product with a matrix of parameters")
    inner = {arg for product in products for arg in product.args}
    if any(value in products for value in postorder(inner)):
        raise NoKernel("one of its products needs another")
    table = {value: ops.leaf("input", names[value], value.shape, value.kind) for value in products}
    inputs = (*cell.inputs, *(Input(names[value], value.shape, value.kind) for value in products))
    rest = replace(loop, cell=substitute(replace(cell, inputs=inputs), table), reads=(*loop.reads, *products))
    return LoopSteps(products, rest)


def _products(roots: Sequence[Value], varying: Iterable[Value]) -> tuple[Value, ...]:
    changing = frozenset(varying)
    found = (v for v in postorder(roots) if v in changing and v.kind in (Kind.FLOAT, Kind.COMPLEX))
    return tuple(v for v in found if is_static_product(v, changing))
