"""Where the elements of a loop's values lie in C: arrays of a position, rows of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, infix, subscript
from lsrl.backends.kernel_form import KernelForm
from lsrl.backends.native.indexing import Index, plus, times
from lsrl.backends.native.numbers import Numbers
from lsrl.backends.native.operations import TYPES, Element, cast
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.ir.dims import Dim, count
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class Places:
    """How elements are read and written.

    Attributes:
        form: the loop.
        numbers: of the kernel.
        tensors: its arguments by role and by what they hold.
        arrays: the names of the arrays of computed values and of arriving states.
        tables: the names of constant arrays.
    """

    form: KernelForm
    numbers: Numbers
    tensors: Mapping[tuple[Role, str], Tensor]
    arrays: Mapping[Value, str]
    tables: Mapping[Value, str]

    def element(self, value: Value, index: Index) -> Element:
        """An element of a value that is no move of another."""
        if value in self.arrays:
            return Element(value, self.stored(value, index))
        if value in self.form.views:
            return Element(value, self.read(value, index))
        if value.op == "iota":
            return Element(value, cast("int64_t", index.axes[0]))
        if value in self.tables:
            return Element(value, subscript(Code(self.tables[value]), str(self.numbers.flat(value.shape, index))))
        return Element(value, self.numbers.code(value), literal=True)

    def stored(self, value: Value, index: Index) -> Code:
        """An element of a value's array."""
        return subscript(Code(row(self.arrays[value])), str(self.numbers.flat(value.shape, index)))

    def read(self, value: Value, index: Index) -> Code:
        """An element of an input or param, or of a view of one."""
        view = self.form.views[value]
        static = self.form.is_static(value)
        tensor = self.tensors[Role.STATIC if static else Role.READ, str(view.base.attr("name"))]
        place = self.place(view.offset, view.strides, index)
        return subscript(Code(tensor.name if static else row(tensor.name)), str(place))

    def place(self, offset: Dim, strides: Sequence[Dim], index: Index) -> Code:
        """The place of an element in memory."""
        whole = self.numbers.dim(offset)
        for stride, code in zip(strides, index.axes, strict=True):
            back = str(stride).startswith("-")
            step = times(code, self.numbers.dim(-stride if back else stride))
            whole = infix("-", whole, step) if back else plus(whole, step)
        return whole

    def kept(self, role: Role, name: str, index: Index) -> Code:
        """An element of a state or output in the tensor of a role."""
        tensor = self.tensor(role, name)
        _, part = self._whole(name)
        pairs = 2 if tensor.kind is Kind.COMPLEX else 1
        strides = [count(tensor.shape[axis + 1 :]) * pairs for axis in range(len(tensor.shape))]
        return subscript(Code(row(tensor.name)), str(self.place(part, strides, index)))

    def tensor(self, role: Role, name: str) -> Tensor:
        """The tensor in which a state or output lies, maybe beside others."""
        return self.tensors[role, self._whole(name)[0]]

    def has(self, role: Role, name: str) -> bool:
        """Whether there is a tensor of this role for a state or output."""
        return (role, self._whole(name)[0]) in self.tensors

    def _whole(self, name: str) -> tuple[str, Dim]:
        return self.form.parts.get(name, (name, Dim.of(0)))


def row(name: str) -> str:
    """What an array or tensor is called at one position of one sequence."""
    return f"{name}_row"


def c_type(kind: Kind) -> str:
    """The type of elements in memory: complex numbers lie there as pairs of real ones."""
    return TYPES.get(kind, "real")
