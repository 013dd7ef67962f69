"""A loop over positions as one C function: states stay in arrays of a thread, which runs a few sequences at a time.

Threads share sequences among each other, and axes along which nothing meets; none waits for another.  Matrices that
stay the same are packed once, and multiply the vectors of all sequences of a thread at each position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction

from lsrl.backends.expressions import nearest
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.elements import END, FIRST
from lsrl.backends.native.layout import Cut, Layout, layout_of
from lsrl.backends.native.places import c_type
from lsrl.backends.native.position import write_copies, write_position
from lsrl.backends.native.static_product import write_packing
from lsrl.backends.triton_memory import WRITTEN, Role, Tensor
from lsrl.ir.dims import Dim, count

LARGEST_TILE = 32
"""Sequences that a thread runs at once where they share products: more would leave the nearer caches."""
_POSITIONS = {Role.KEPT: "{}", Role.SAVED: "saves"}
"""Of how many positions a tensor has a row, where that is of many."""
NEAR_BYTES = 2**15
"""States that stay in the nearest cache."""
NEAR_BYTES_SHARED = 2**18
"""Matrices and states that stay in the second."""
LEAST_SHARED = 2**15
"""Numbers that all positions work on, below which one thread runs them."""
LEAST_WIDTH = 16
"""Elements of a thread's part of an axis are a multiple of so many, a cache line of the shorter numbers."""


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """A kernel as its caller sees it.

    Attributes:
        text: of the function, in C.
        tensors: its pointers, in order.
        numbers: what follows them: an expression of the module around and a type of C for each.  The expressions know
            `batch`, `length`, `every` and the sizes.
        shared: the sequences of a thread run together, since they share products with matrices.
    """

    name: str
    text: str
    tensors: tuple[Tensor, ...]
    numbers: tuple[tuple[str, str], ...]
    shared: bool


def native_kernel(name: str, loop: LoopCell, known: Mapping[str, int], outside: Mapping[str, str]) -> NativeKernel:
    """The kernel of a loop.

    Args:
        known: the number of every size.
        outside: the identifier of every size in the module around.

    Raises:
        NoKernel: an operation or a shape that has no form in C.
    """
    layout = layout_of(name, loop, known, outside)
    body = CWriter(depth=1)
    _write_body(layout, body)
    numbers = _numbers(layout, str(body))
    text = CWriter()
    text.text(f"void {name}(")
    text.text("\n".join(f"    {_argument(tensor)}" for tensor in layout.tensors))
    text.text(f"    {', '.join(f'{type_} {own}' for own, _, type_ in numbers)}")
    text.text(") {")
    text.append(body)
    text.text("}")
    told = tuple((outer, type_) for _, outer, type_ in numbers)
    return NativeKernel(name, str(text), layout.tensors, told, layout.shared)


def _argument(tensor: Tensor) -> str:
    """`const real *x,  // [B, T, D]`"""
    return f"{'' if tensor.role in WRITTEN else 'const '}{c_type(tensor.kind)} *{tensor.name},  // {tensor.remark}"


def _numbers(layout: Layout, body: str) -> list[tuple[str, str, str]]:
    """The arguments behind the pointers: name, expression of the module around, type."""
    used = frozenset(re.findall(r"\w+", body))
    found = [(layout.batch, "batch", "long"), (layout.length, "length", "long"), (layout.every, "every", "long")]
    numbers = layout.numbers
    found += [(own, numbers.outside[size], "long") for size, own in numbers.sizes.items()]
    found += [(own, code, type_) for code, (own, type_) in numbers.arguments.items()]
    return [*(each for each in found if each[0] in used), ("threads", "torch.get_num_threads()", "long")]


def _write_body(layout: Layout, writer: CWriter) -> None:
    for table, name in layout.places.tables.items():
        items = ", ".join(_flattened(table.attr("value")))
        writer.line(f"static const {c_type(table.kind)} {name}[] = {{{items}}};")
    length, every = layout.length, layout.every
    if any(tensor.role is Role.SAVED for tensor in layout.tensors):
        writer.line(f"const long saves = {every} ? ({length} + {every} - 1) / {every} : 0;")
    for tensor in layout.tensors:
        if tensor.role in _POSITIONS:
            many = f"{layout.batch} * {_POSITIONS[tensor.role].format(length)}"
            row = layout.numbers.dim(tensor.row)
            writer.line(f"write_in_large_pages({tensor.name}, {many} * ({row}) * (long)sizeof({c_type(tensor.kind)}));")
    work = [layout.leaf(state).shape for state in layout.form.cell.states]
    work += [product.matrix.shape for product in layout.nests.products]
    whole = layout.numbers.dim(sum(map(count, work), start=Dim.of(0)))
    writer.line(f"if ({layout.batch} * {length} * ({whole}) < {LEAST_SHARED}) threads = 1;", "more would wait for it")
    groups = layout.batch
    if layout.shared:
        share, groups = f"({layout.batch} + threads - 1) / threads", "groups"
        writer.line(f"const long tile = {share} < {LARGEST_TILE} ? {share} : {LARGEST_TILE};", "sequences at once")
        writer.line(f"const long groups = tile ? ({layout.batch} + tile - 1) / tile : 0;")
    packed = _write_packed(layout, writer)
    heads = [f"for (long first_b = 0; first_b < {groups}; first_b++)"]
    if layout.cut is not None:
        _write_width(layout, layout.cut, groups, writer)
        heads.append("for (long part = 0; part < parts; part++)")
    collapsed = f" collapse({len(heads)})" if len(heads) > 1 else ""
    writer.text(f"#pragma omp parallel for num_threads(threads) schedule(static){collapsed}")
    with ExitStack() as blocks:
        for head in heads:
            blocks.enter_context(writer.block(head))
        _write_sequences(layout, writer)
    writer.lines(f"free({name});" for name in packed)


def _write_width(layout: Layout, cut: Cut, groups: str, writer: CWriter) -> None:
    """How much of an axis runs at once: what stays near the arithmetic, and no more than a thread's share."""
    size, numbers = layout.numbers.dim(cut.size), layout.numbers.dim(cut.numbers)
    near = NEAR_BYTES_SHARED if layout.shared else NEAR_BYTES
    writer.line(f"const long near = {near} / (({numbers}) * (long)sizeof(real));")
    writer.line(f"const long share = {groups} && threads > {groups} ? threads / {groups} : 1;")
    writer.line(f"const long even = ({size} + share - 1) / share;")
    writer.line("const long some = near < 1 ? 1 : near < even ? near : even;")
    step = f"(some + {LEAST_WIDTH - 1}) / {LEAST_WIDTH} * {LEAST_WIDTH}" if cut.innermost else "some"
    writer.line(f"const long width = {step};")
    writer.line(f"const long parts = ({size} + width - 1) / width;")


def _flattened(items: object) -> list[str]:
    """The numbers of a constant array in row-major order."""
    if isinstance(items, tuple):
        return [number for item in items for number in _flattened(item)]
    assert isinstance(items, int | float | Fraction), items
    return [str(int(items)) if isinstance(items, int) else repr(nearest(Fraction(items)))]


def _write_packed(layout: Layout, writer: CWriter) -> list[str]:
    """Pack every matrix that stays the same, once for the products that read it alike; the arrays."""
    packed = {layout.packed(product): product for product in layout.nests.products}
    for name, product in packed.items():
        write_packing(product, layout.places, name, writer)
    return list(packed)


def _write_sequences(layout: Layout, writer: CWriter) -> None:
    """Some sequences from their start to their end."""
    if layout.cut is not None:
        size = layout.numbers.dim(layout.cut.size)
        writer.line(f"const long {FIRST} = part * width;")
        writer.line(f"const long {END} = {FIRST} + width < {size} ? {FIRST} + width : {size};")
    if layout.shared:
        rest = f"{layout.batch} - first_b * tile"
        writer.line(f"const long n_b = {rest} < tile ? {rest} : tile;")
    many = "n_b * " if layout.shared else ""
    for array in layout.arrays:
        room = f"{many}({layout.numbers.count(array.shape)}) * sizeof({array.type})"
        writer.line(f"{array.type} *{layout.whole(array.name)} = new_array({room});")
    write_copies(layout, Role.START, writer)
    with writer.block(f"for (long step = 0; step < {layout.length}; step++)"):
        writer.line(f"const long i_t = {f'{layout.length} - 1 - step' if layout.form.reverse else 'step'};")
        write_position(layout, writer)
    write_copies(layout, Role.END, writer)
    writer.lines(f"free({layout.whole(array.name)});" for array in layout.arrays)
