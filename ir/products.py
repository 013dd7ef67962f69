"""Two rewritings of products with parameters that decide how fast a recurrence runs.

`split_products` takes `W @ concat(x, h)` apart into `W_x @ x + W_h @ h`, so that the part without state leaves the
loop, and `S @ (diag(w) - outer(a, b))` into products with vectors; it reassociates sums, hence results agree to
rounding.  `fuse_products` joins products that share an operand, `Wz @ x` and `Wr @ x`, into one product with the
matrices stacked (gate fusion); it computes the same sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim
from lsrl.ir.distribute import distribute
from lsrl.ir.pipeline import VARYING, components, leaf_of
from lsrl.ir.plan_groups import is_static_product
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Value, depends_on, postorder


@dataclass(frozen=True, slots=True)
class Product:
    """A two-operand einsum of a static array and a varying one.

    Attributes:
        value: the einsum itself.
        place: which operand is the static one.
        static, varying: the operands; `static_axes`, `varying_axes` and `result_axes` are their letters.
    """

    value: Value
    place: int
    static: Value
    varying: Value
    static_axes: str
    varying_axes: str
    result_axes: str


def split_products(cell: Cell) -> Cell:
    """Distribute products inside a recurrence over `concat`s of what belongs to it and what does not, and over sums."""
    cell = distribute(cell)
    varying = _varying(cell)
    split: dict[Value, Value] = {}
    for core in _cores(cell):
        for value in core:
            product = _product(value, varying)
            if product is not None and _mixed(product.varying, core):
                parts = _distributed(product)
                if parts is not None:
                    split[value] = parts
    return substitute(cell, split) if split else cell


def _cores(cell: Cell) -> Iterator[frozenset[Value]]:
    """For each recurrence the values on its cycles: they need its states, and its next values need them."""
    for part in components(cell):
        if part.cyclic:
            nexts = [state.next for state in part.states]
            yield depends_on(nexts, leaf_of(part.names))


def _mixed(part: Value, core: frozenset[Value]) -> bool:
    return part.op == "concat" and len({arg in core for arg in part.args}) == 2


def fuse_products(cell: Cell, in_loops: bool = True) -> Cell:
    """Join products that share their varying operand.

    Args:
        in_loops: also those whose operand depends on a state; otherwise only those computed for all positions at once.
    """
    varying, tied = _varying(cell), _tied(cell)
    groups: dict[tuple[object, ...], list[Product]] = {}
    for value in postorder(cell.all_roots()):
        product = _product(value, varying)
        if product is not None and (in_loops or product.varying not in tied):
            axis = _free_axis(product)
            if axis is not None:
                groups.setdefault(_likeness(product, axis), []).append(product)
    fused: dict[Value, Value] = {}
    for group in groups.values():
        if len(group) > 1:
            fused |= _fused(group)
    return substitute(cell, fused) if fused else cell


def _varying(cell: Cell) -> frozenset[Value]:
    return depends_on(cell.all_roots(), lambda value: value.op in VARYING)


def _tied(cell: Cell) -> frozenset[Value]:
    return depends_on(cell.all_roots(), lambda value: value.op == "state")


def _product(value: Value, varying: frozenset[Value]) -> Product | None:
    if value.op != "einsum" or len(value.args) != 2 or not is_static_product(value, varying):
        return None
    place = 0 if value.args[0] not in varying else 1
    operands, result = str(value.attr("spec")).split("->")
    axes = operands.split(",")
    if value.args[1 - place] not in varying:
        return None
    return Product(value, place, value.args[place], value.args[1 - place], axes[place], axes[1 - place], result)


def _free_axis(product: Product) -> int | None:
    """The last axis that only the static operand has: along it products can be stacked."""
    free = [
        a
        for a, letter in enumerate(product.static_axes)
        if letter in product.result_axes and letter not in product.varying_axes
    ]
    return free[-1] if free else None


def _likeness(product: Product, axis: int) -> tuple[object, ...]:
    shape = product.static.shape
    others = shape[:axis] + shape[axis + 1 :]
    return product.varying, product.place, product.value.attr("spec"), axis, others, product.static.kind


def _fused(group: list[Product]) -> dict[Value, Value]:
    first = group[0]
    axis = _free_axis(first)
    assert axis is not None
    stacked = build.concat([product.static for product in group], axis)
    args = (stacked, first.varying) if first.place == 0 else (first.varying, stacked)
    whole = ops.apply("einsum", *args, spec=first.value.attr("spec"))
    at = first.result_axes.index(first.static_axes[axis])
    starts, place = [], Dim.of(0)
    for product in group:
        starts.append(place)
        place = place + product.static.shape[axis]
    return {p.value: build.slice_(whole, s, s + p.static.shape[axis], at) for p, s in zip(group, starts, strict=True)}


def _distributed(product: Product) -> Value | None:
    axis = int(str(product.varying.attr("axis")))
    letter = product.varying_axes[axis]
    if letter in product.result_axes or product.static_axes.count(letter) != 1:
        return None
    at = product.static_axes.index(letter)
    start, terms = Dim.of(0), []
    for part in product.varying.args:
        piece = build.slice_(product.static, start, start + part.shape[axis], at)
        args = (piece, part) if product.place == 0 else (part, piece)
        terms.append(ops.apply("einsum", *args, spec=product.value.attr("spec")))
        start = start + part.shape[axis]
    total = terms[0]
    for term in terms[1:]:
        total = build.add(total, term)
    return total
