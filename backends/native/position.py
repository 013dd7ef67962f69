"""What a kernel does at one position: it keeps arriving states, runs the nests, and passes states on."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from textwrap import dedent

from lsrl.backends.expressions import Code, subscript
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.elements import Registers
from lsrl.backends.native.folds import write_fold, write_join
from lsrl.backends.native.indexing import Index, identity, indices, times
from lsrl.backends.native.layout import Layout
from lsrl.backends.native.nests import Nest, Work
from lsrl.backends.native.operations import TYPES
from lsrl.backends.native.places import c_type, row
from lsrl.backends.native.static_product import beside, static_product
from lsrl.backends.native.sums import write_sum
from lsrl.backends.triton_memory import WRITTEN, Role, Tensor
from lsrl.backends.writer import origin_of
from lsrl.ir.cell import State
from lsrl.ir.value import Value

_ROWS = re.compile(r"\b(\w+)_row\b")


def write_copies(layout: Layout, role: Role, writer: CWriter) -> None:
    """All states from where they start, to where they end, or to where some positions are kept."""
    body = CWriter(writer.depth + 1)
    for state in layout.form.cell.states:
        if not layout.places.has(role, state.name):
            continue
        leaf = layout.leaf(state)
        index = identity(leaf)
        carried = subscript(Code(row(layout.carried[state.name])), str(layout.numbers.flat(leaf.shape, index)))
        own = layout.places.kept(role, state.name, index)
        with layout.elements.over(leaf, body):
            body.line(f"{carried} = {own};" if role is Role.START else f"{own} = {carried};")
    _write_rows(layout, body, writer)


def write_position(layout: Layout, writer: CWriter) -> None:
    """One position from arriving states to those that are passed on."""
    if any(tensor.role is Role.SAVED for tensor in layout.tensors):
        with writer.block(f"if ({layout.every} && step % {layout.every} == 0)"):
            slot = f"step / {layout.every}"
            writer.line(f"const long slot = {f'saves - 1 - {slot}' if layout.form.reverse else slot};")
            write_copies(layout, Role.SAVED, writer)
    _write_moved(layout, lambda value: not _is_computed(layout, value), writer)
    for nest in layout.nests.nests:
        if nest.work is Work.PRODUCT:
            _write_product(layout, nest.values[0], writer)
        else:
            body = CWriter(writer.depth + 1)
            _write_nest(layout, nest, body)
            _write_rows(layout, body, writer)
    _write_moved(layout, lambda v: _is_computed(layout, v) and not layout.nests.computes_elements(v), writer)
    for state in layout.form.cell.states:
        if not layout.in_place(state):
            now, after = (layout.whole(each[state.name]) for each in (layout.carried, layout.following))
            with writer.block(""):
                writer.lines((f"{c_type(state.kind)} *swapped = {now};", f"{now} = {after};", f"{after} = swapped;"))


def _is_computed(layout: Layout, value: Value) -> bool:
    """Whether a nest computes what is read for a value."""
    return layout.elements.behind(value) in layout.nests.place


def _write_moved(layout: Layout, wanted: Callable[[Value], bool], writer: CWriter) -> None:
    """What is kept or passed on without being computed for it: it is there already, or lies in an array."""
    body, elements = CWriter(writer.depth + 1), layout.elements
    for output in layout.form.cell.outputs:
        if layout.places.has(Role.KEPT, output.name) and wanted(output.value):
            index = identity(output.value)
            with elements.over(output.value, body):
                code = elements.read(output.value, index).of(output.value.kind)
                body.line(f"{layout.places.kept(Role.KEPT, output.name, index)} = {code};")
    for state in layout.form.cell.states:
        if wanted(state.next):
            with elements.over(state.next, body):
                body.line(f"{_next(layout, state)} = {elements.read(state.next, identity(state.next)).of(state.kind)};")
    _write_rows(layout, body, writer)


def _next(layout: Layout, state: State) -> Code:
    """Where an element of what a state becomes is written."""
    place = layout.numbers.flat(state.next.shape, identity(state.next))
    return subscript(Code(row(layout.following[state.name])), str(place))


def _write_nest(layout: Layout, nest: Nest, body: CWriter) -> None:
    first = nest.values[0]
    if nest.work is Work.ELEMENTS:
        with layout.elements.over(first, body):
            _write_elements(layout, nest, layout.elements.registers(body), body)
        return
    body.origin(origin_of(layout.form.cell, first, layout.names.users(first)))
    write = {Work.SUM: write_sum, Work.FOLD: write_fold, Work.JOIN: write_join}[nest.work]
    write(first, layout.elements, body)


def _write_elements(layout: Layout, nest: Nest, registers: Registers, body: CWriter) -> None:
    """One turn of a nest: arriving states that it overwrites are read first."""
    cell, arriving = layout.form.cell, layout.form.arriving()
    here = layout.nests.place[nest.values[0]]
    for state in cell.states:
        read_here = (here, True) in layout.nests.readers.get(state.name, ())
        if layout.in_place(state) and state.next in nest.values and read_here:
            leaf = arriving[state.name]
            code = layout.places.element(leaf, identity(leaf)).code
            body.line(f"const {TYPES[leaf.kind]} {layout.names[leaf]} = {code};")
            registers.bind(leaf)
    stored = {value: targets for value in nest.values if (targets := _targets(layout, value))}
    registers.write(nest.values, stored)
    for value, targets in stored.items():
        body.lines(f"{target} = {registers.codes[value]};" for target in targets)


def _targets(layout: Layout, value: Value) -> tuple[str, ...]:
    """Everywhere that an element of a value is read from later."""
    cell, places, index = layout.form.cell, layout.places, identity(value)
    found = [str(_next(layout, state)) for state in cell.states if state.next is value]
    found += [str(places.stored(value, index))] if value in layout.nests.arrays else []
    outputs = (output.name for output in cell.outputs if output.value is value)
    found += [str(places.kept(Role.KEPT, name, index)) for name in outputs if places.has(Role.KEPT, name)]
    return tuple(dict.fromkeys(found))


def _write_product(layout: Layout, value: Value, writer: CWriter) -> None:
    """A product for all sequences of the thread at once."""
    product = static_product(layout.form, value)
    assert product is not None, value
    numbers, arrays = layout.numbers, layout.places.arrays
    inner, outer = product.sizes(numbers)
    writer.origin(origin_of(layout.form.cell, value, layout.names.users(value)))
    names = indices(value.shape[:-1])
    at = numbers.flat(value.shape[:-1], Index(tuple(map(Code, names))))
    with ExitStack() as blocks:
        for axis, name in enumerate(names):
            blocks.enter_context(writer.block(layout.elements.head(value, axis, name)))
        out = beside(layout.whole(arrays[value]), times(at, outer))
        given = beside(layout.whole(arrays[product.vectors]), times(at, inner))
        packed = beside(layout.packed(product), times(at, product.packed(numbers)))
        steps = (numbers.count(value.shape), numbers.count(product.vectors.shape))
        passed = (out, steps[0], given, steps[1], packed, "n_b", inner, outer)
        writer.line(f"product({', '.join(map(str, passed))});")


def _write_rows(layout: Layout, body: CWriter, writer: CWriter) -> None:
    """A part for each sequence that runs, in front of it the rows that it uses."""
    used = frozenset(_ROWS.findall(str(body)))
    if not used:
        return
    with writer.block("for (long i_b = 0; i_b < n_b; i_b++)" if layout.shared else ""):
        for array in layout.arrays if layout.shared else ():
            if array.name in used:
                place = times(Code("i_b"), layout.numbers.count(array.shape))
                writer.line(f"{array.type} *const {row(array.name)} = {beside(layout.whole(array.name), place)};")
        for tensor in layout.tensors:
            if tensor.name in used:
                _write_row(layout, tensor, writer)
        writer.text(dedent(str(body)))


def _write_row(layout: Layout, tensor: Tensor, writer: CWriter) -> None:
    """Where the sequence's row of a tensor lies."""
    sequence = "(first_b * tile + i_b)" if layout.shared else "first_b"
    match tensor.role:
        case Role.START | Role.END:
            place = sequence
        case Role.SAVED:
            place = f"({sequence} * saves + slot)"
        case _:
            place = f"({sequence} * {layout.length} + i_t)"
    written = "" if tensor.role in WRITTEN else "const "
    at = times(Code(place), layout.numbers.dim(tensor.row))
    writer.line(f"{written}{c_type(tensor.kind)} *const {row(tensor.name)} = {tensor.name} + {at};")
