"""Where the elements of a loop's values lie in C: arrays of a position, rows of tensors, numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan

from lsrl.backends.expressions import Arithmetic, Code, dim_code, infix, subscript
from lsrl.backends.host_numbers import HostNumber, host_number
from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_form import KernelForm
from lsrl.backends.native.nests import Index, flat_index, plus, times
from lsrl.backends.native.operations import TYPES, Element, cast
from lsrl.backends.triton_memory import Identifiers, Role, Tensor
from lsrl.ir.dims import Dim, Shape, count
from lsrl.ir.infer import dim
from lsrl.ir.value import Kind, Value

LARGEST_LITERAL = 2**31

_C = Arithmetic("/", lambda base, power: Code(f"({' * '.join([str(base.text)] * power)})"))


@dataclass(slots=True)
class Numbers:
    """The numbers of a kernel: constants stand in its text, what depends on sizes is an argument.

    Attributes:
        sizes: the identifier of every size in C.
        outside: that in the module around.
        known: the number of every size.
        names: from which arguments get their names.
        arguments: by the Python expression that computes each: its name, and its type.
    """

    sizes: Mapping[str, str]
    outside: Mapping[str, str]
    known: Mapping[str, int]
    names: Identifiers
    arguments: dict[str, tuple[str, str]] = field(default_factory=dict)

    def dim(self, size: Dim) -> Code:
        """A size, or what is made of sizes."""
        return dim_code(size, self.sizes, _C)

    def count(self, shape: Shape) -> Code:
        """The number of elements."""
        return self.dim(count(shape))

    def is_number(self, value: Value) -> bool:
        return self._host(value) is not None

    def code(self, value: Value) -> Code:
        """A number as C writes it."""
        host = self._host(value)
        assert host is not None, value
        if value.op == "size":
            return cast("int64_t", self.dim(dim(value.attr("dim"))))
        if identifiers(host.code.text).isdisjoint(self.outside.values()):
            return _literal(host.number)
        text = str(host.code)
        if text not in self.arguments:
            type_ = "double" if isinstance(host.number, float) else "long"
            self.arguments[text] = self.names.fresh("number"), type_
        return cast(TYPES[value.kind], Code(self.arguments[text][0]))

    def _host(self, value: Value) -> HostNumber | None:
        return host_number(value, self.known, self.outside)


def _literal(number: bool | int | float | complex) -> Code:
    """A number without a type of its own where that is possible: whole numbers take that of their surroundings."""
    assert not isinstance(number, complex)
    if isinstance(number, bool):
        return Code(str(int(number)))
    if not isfinite(number):
        return cast("real", Code("NAN" if isnan(number) else "INFINITY" if number > 0 else "-INFINITY"))
    if number == int(number) and abs(number) < LARGEST_LITERAL:
        text = str(int(number))
        return Code(text if number >= 0 else f"({text})")
    return cast("real" if isinstance(number, float) else "int64_t", Code(repr(number) if number >= 0 else f"({number!r})"))


@dataclass(frozen=True, slots=True)
class Places:
    """How elements are read and written.

    Attributes:
        form: the loop.
        numbers: of the kernel.
        tensors: its arguments by role and by what they hold.
        arrays: the names of the arrays of computed values and of arriving states; of one position, `NAME_row`.
        tables: the names of constant arrays.
    """

    form: KernelForm
    numbers: Numbers
    tensors: Mapping[tuple[Role, str], Tensor]
    arrays: Mapping[Value, str]
    tables: Mapping[Value, str]

    def element(self, value: Value, index: Index) -> Element:
        """An element of a value that can be read as it is."""
        if value in self.arrays:
            return Element(value, subscript(Code(row(self.arrays[value])), str(self.flat(value.shape, index))))
        if value in self.form.views:
            return Element(value, self.read_memory(value, index))
        if value.op == "iota":
            return Element(value, cast("int64_t", index.axes[0]))
        if value in self.tables:
            return Element(value, subscript(Code(self.tables[value]), str(self.flat(value.shape, index))))
        return Element(value, self.numbers.code(value), literal=True)

    def flat(self, shape: Shape, index: Index) -> Code:
        """The place of an element of an array."""
        return index.flat if index.flat is not None else flat_index(shape, index.axes, self.numbers.dim)

    def read_memory(self, value: Value, index: Index) -> Code:
        """An element of an input or param."""
        view = self.form.views[value]
        static = self.form.is_static(value)
        tensor = self.tensors[Role.STATIC if static else Role.READ, str(view.base.attr("name"))]
        place = self.place(view.offset, view.strides, index)
        return subscript(Code(tensor.name if static else row(tensor.name)), str(place))

    def place(self, offset: Dim, strides: Sequence[Dim], index: Index) -> Code:
        """The place of an element in memory."""
        whole = self.numbers.dim(offset)
        for stride, code in zip(strides, index.axes, strict=True):
            text = str(stride)
            if text.startswith("-"):
                whole = infix("-", whole, times(code, self.numbers.dim(-stride)))
            else:
                whole = plus(whole, times(code, self.numbers.dim(stride)))
        return whole

    def written(self, role: Role, name: str, shape: Shape, index: Index) -> tuple[Tensor, Code]:
        """The tensor of a state or output, and the place of an element in a row of it."""
        whole, part = self.form.parts.get(name, (name, Dim.of(0)))
        tensor = self.tensors[role, whole]
        pairs = 2 if tensor.kind is Kind.COMPLEX else 1
        strides = [count(tensor.shape[axis + 1 :]) * pairs for axis in range(len(tensor.shape))]
        assert len(strides) == len(shape), (name, shape)
        return tensor, self.place(part, strides, index)

    def has(self, role: Role, name: str) -> bool:
        """Whether there is a tensor of this role for a state or output."""
        return (role, self.form.parts.get(name, (name, Dim.of(0)))[0]) in self.tensors


def row(name: str) -> str:
    """What an array is called at one position of one sequence."""
    return f"{name}_row"


def rows_in(text: str) -> frozenset[str]:
    """The arrays and tensors whose rows a text uses."""
    return frozenset(re.findall(r"\b(\w+)_row\b", text))


def c_type(kind: Kind) -> str:
    """The type of elements in memory: complex numbers lie there as pairs of real ones."""
    return TYPES.get(kind, "real")


def tables_of(values: Iterable[Value], names: Identifiers) -> dict[Value, str]:
    """Names for constant arrays."""
    return {value: names.fresh("table") for value in values if value.op == "const" and value.rank}
