"""A loop in the form that a kernel computes: real numbers, what is read from memory and how, what its axes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from lsrl.backends.loop_cell import LoopCell
from lsrl.ir.axes import AxisClasses, axis_classes
from lsrl.ir.cell import Cell, Output
from lsrl.ir.dims import Dim, Shape, count
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.laws_parts import KERNEL_FORM
from lsrl.ir.realify import NoRealForm, realify
from lsrl.ir.rewrite import rewrite
from lsrl.ir.value import Kind, Value, postorder


class NoKernel(ValueError):
    """Why a loop has no kernel; the message completes "it runs in plain PyTorch: "."""


@dataclass(frozen=True, slots=True)
class View:
    """How a value lies in an array in memory.

    Attributes:
        base: the input or param that is the array; complex ones are read as pairs of real numbers.
        offset: of the first element, in elements.
        strides: from one element to the next, for each axis of the value.
    """

    base: Value
    offset: Dim
    strides: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class KernelForm:
    """A loop on real numbers.

    Attributes:
        cell: inputs are read at every position, params once; states are carried, outputs stored at every position.
        reverse: it runs from the end to the start.
        parts: for states and outputs that are a part of one in memory (the real or imaginary numbers of complex ones, a
            stretch of an axis), its name and the offset of the part's first element.
        views: what is read from memory.
        body: operations, operands first.
        classes: the axes of everything.
    """

    cell: Cell
    reverse: bool
    parts: Mapping[str, tuple[str, Dim]]
    views: Mapping[Value, View]
    body: tuple[Value, ...]
    classes: AxisClasses

    def is_static(self, value: Value) -> bool:
        """Whether the value is read once, before the loop."""
        return value in self.views and self.views[value].base.op == "param"

    def arriving(self) -> dict[str, Value]:
        """The arriving value of every state that something reads."""
        leaves = (v for v in postorder(self.cell.roots()) if v.op == "state")
        return {str(v.attr("name")): v for v in leaves}


def kernel_form(loop: LoopCell, numbers: Mapping[str, int]) -> KernelForm:
    """The loop's form.

    Args:
        numbers: the number of every size.

    Raises:
        NoKernel: an operation or a shape that kernels do not know.
    """
    try:
        real = realify(rewrite(loop.cell, KERNEL_FORM))
    except NoRealForm as reason:
        raise NoKernel(str(reason)) from reason
    cell, parts = _with_parts(rewrite(real.cell, KERNEL_FORM), real.parts, loop.cell)
    views: dict[Value, View] = {}
    for value in postorder(cell.roots()):
        view = _view(value, views)
        if view is not None:
            views[value] = view
    read = {v: view for v, view in views.items() if v.kind is not Kind.COMPLEX}
    order = tuple(postorder(cell.roots(), stop=read.__contains__))
    body = tuple(v for v in order if v.args and v not in read)
    _check_sizes(order, numbers)
    leaves = {str(v.attr("name")): v for v in order if v.op == "state"}
    tied = [(leaves[state.name], state.next) for state in cell.states if state.name in leaves]
    used = _in_order({v: read[v] for v in order if v in read}, cell, numbers)
    named = replace(cell, names={**_part_names(used, body, cell), **cell.names})
    return KernelForm(named, loop.reverse, parts, used, body, axis_classes(body, tied, used))


def _with_parts(
    cell: Cell, parts: Mapping[str, tuple[str, int]], whole: Cell
) -> tuple[Cell, Mapping[str, tuple[str, Dim]]]:
    """The cell with outputs that join values as several outputs, each stored in its own place."""
    kinds = {output.name: output.value.kind for output in whole.outputs}
    found = {name: (of, Dim.of(place)) for name, (of, place) in parts.items()}
    outputs: list[Output] = []
    stack = [*cell.outputs][::-1]
    while stack:
        output = stack.pop()
        name, first = found.get(output.name, (output.name, Dim.of(0)))
        if output.value.op != "concat":
            outputs.append(output)
            continue
        axis = integer(output.value.attr("axis"))
        step = row_major(output.value.shape)[axis] * (2 if kinds[name] is Kind.COMPLEX else 1)
        pieces = []
        for place, piece in enumerate(output.value.args):
            pieces.append(Output(f"{output.name} {place}", piece))
            found[pieces[-1].name] = name, first
            first = first + piece.shape[axis] * step
        stack.extend(reversed(pieces))
    return replace(cell, outputs=tuple(outputs)), found


def _in_order(views: Mapping[Value, View], cell: Cell, numbers: Mapping[str, int]) -> dict[Value, View]:
    """The views as their arrays are declared, and as they follow each other in one array."""
    names = [*(i.name for i in cell.inputs), *(p.name for p in cell.params)]

    def place(value: Value) -> tuple[int, int]:
        view = views[value]
        return names.index(str(view.base.attr("name"))), view.offset.evaluate(numbers)

    return {value: views[value] for value in sorted(views, key=place)}


def _part_names(views: Mapping[Value, View], body: tuple[Value, ...], cell: Cell) -> dict[Value, str]:
    """Names of parts of arrays: after the array and the named value that the part is for."""
    users: dict[Value, list[Value]] = {}
    for user in body:
        for arg in user.args:
            users.setdefault(arg, []).append(user)
    named = {**{state.next: f"{state.name}'" for state in cell.states}, **cell.names}
    found: dict[Value, str] = {}
    for value, view in views.items():
        if value is not view.base:
            purpose = value
            while purpose not in named and purpose in users:
                purpose = users[purpose][0]
            what = value.op if value.op in ("re", "im") else named.get(purpose, "part")
            found[value] = f"{view.base.attr('name')}.{what}"
    return found


def _check_sizes(values: tuple[Value, ...], numbers: Mapping[str, int]) -> None:
    for value in values:
        if prod(size.evaluate(numbers) for size in value.shape) == 0:
            raise NoKernel("an axis has no elements")


def _view(value: Value, views: Mapping[Value, View]) -> View | None:
    """How the value lies in memory, None where it does not."""
    if value.op in ("input", "param"):
        pairs = 2 if value.kind is Kind.COMPLEX else 1
        return View(value, Dim.of(0), tuple(stride * pairs for stride in row_major(value.shape)))
    if len(value.args) != 1 or value.args[0] not in views:
        return None
    inner, shape = views[value.args[0]], value.args[0].shape
    match value.op:
        case "re" | "im" if value.args[0].kind is Kind.COMPLEX:
            return View(inner.base, inner.offset + (value.op == "im"), inner.strides)
        case "transpose":
            return View(inner.base, inner.offset, tuple(inner.strides[axis] for axis in integers(value.attr("perm"))))
        case "slice" | "select" | "flip":
            return _part(value, inner, shape)
        case "reshape" if inner.strides == row_major(shape):
            return View(inner.base, inner.offset, row_major(value.shape))
    return None


def _part(value: Value, inner: View, shape: Shape) -> View:
    axis = integer(value.attr("axis"))
    before, stride, after = inner.strides[:axis], inner.strides[axis], inner.strides[axis + 1 :]
    match value.op:
        case "slice":
            offset = inner.offset + dim(value.attr("start")) * stride
            return View(inner.base, offset, (*before, stride * integer(value.attr("step")), *after))
        case "select":
            return View(inner.base, inner.offset + dim(value.attr("index")) * stride, (*before, *after))
        case _:
            return View(inner.base, inner.offset + (shape[axis] - 1) * stride, (*before, -stride, *after))


def row_major(shape: Shape) -> tuple[Dim, ...]:
    """The strides of a contiguous array."""
    return tuple(count(shape[axis + 1 :]) for axis in range(len(shape)))
