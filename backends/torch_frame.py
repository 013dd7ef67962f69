"""How the values of a cell are written in one function of an emitted PyTorch module."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, method
from lsrl.backends.host_numbers import host_number
from lsrl.backends.naming import Names
from lsrl.backends.places import inner_axes
from lsrl.backends.statements import Statements, Target
from lsrl.backends.thin import repeated
from lsrl.backends.torch_einsum import is_layer
from lsrl.backends.torch_layout import filled, iota, literal, thinly
from lsrl.backends.torch_ops import PRINTERS
from lsrl.backends.torch_place import Operand, Place, Types
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim, shape_text
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value, postorder

SEQUENCE = ("batch", "length")
POSITION = ("batch",)
ALONE = ()
_MOVES = ("transpose", "reshape", "expand", "slice", "select", "flip", "concat")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a function's text depends on.

    Attributes:
        cell: whose values are written.
        numbers: the number of every size.
        names: identifiers of values and sizes.
        types: the module's types.
        lead: the leading axes of values that vary.
        varying: the values that have them.
        narrow: the values that are stored in 16 bits.
        thin: expanded values that broadcasting expands by itself.
        writer: where the text goes.
    """

    cell: Cell
    numbers: Mapping[str, int]
    names: Names
    types: Types
    lead: tuple[str, ...]
    varying: frozenset[Value]
    narrow: frozenset[Value]
    thin: frozenset[Value]
    writer: Writer

    @property
    def place(self) -> Place:
        return Place(self.types, self.names.sizes, self.lead, self.narrow)

    def to(self, writer: Writer) -> Frame:
        """The same, writing elsewhere."""
        return replace(self, writer=writer)

    def statements(self) -> Statements:
        """A function body without statements yet."""
        place = self.place

        def express(value: Value, codes: Mapping[Value, Code]) -> Code:
            if not value.args:
                return self.operand(value, codes).code
            operands = [self.operand(arg, codes) for arg in value.args]
            return thinly(value, operands[0]) if value in self.thin else PRINTERS[value.op](value, operands, place)

        def split(value: Value, code: Code, axis: int, sizes: Sequence[Dim]) -> Code:
            equal = all(size == sizes[0] for size in sizes)
            parts = place.dim(sizes[0]) if equal else f"[{', '.join(str(place.dim(size)) for size in sizes)}]"
            return method(code, "split", parts, axis - value.rank)

        target = Target(self.is_number, self.is_light, express, self.remark, split)
        return Statements(self.cell, self.names, self.writer, target)

    def is_number(self, value: Value) -> bool:
        """Whether the value is a Python number in the emitted text."""
        return host_number(value, self.numbers, self.names.sizes) is not None

    def is_light(self, value: Value) -> bool:
        """Whether the value is only another view of its operand's elements."""
        return value in self.thin or (value.op == "transpose" and value.rank == 2)

    def operand(self, value: Value, codes: Mapping[Value, Code]) -> Operand:
        """A value as an operand: what was written before, or a leaf that needs no statement."""
        host = host_number(value, self.numbers, self.names.sizes)
        if host is not None:
            return Operand(value, host.code, varies=False, host=True)
        if value in codes:
            return Operand(value, codes[value], value in self.varying, narrow=value in self.narrow)
        leaf = iota(value, self.place) if value.op == "iota" else literal(value, self.place)
        return Operand(value, leaf, varies=False)

    def array(self, value: Value, codes: Mapping[Value, Code]) -> Operand:
        """The value with all leading axes: what does not vary is repeated."""
        if value in self.varying:
            return self.operand(value, codes)
        shape = self.place.shape(value.shape, True)
        number = repeated(value)
        if number is not None and self.is_number(number):
            code = filled(shape, self.operand(number, codes), self.types.of(value.kind))
            return Operand(value, code, varies=True)
        operand = self.operand(value, codes)
        return replace(operand, code=method(operand.code, "expand", shape), varies=True)

    def converted(self, kind: Kind, code: object) -> Code:
        """A tensor from outside in the type that its kind has here."""
        type_ = self.types.data if kind is Kind.FLOAT else self.types.of(kind)
        return method(Code(str(code)), "to", type_)

    def remark(self, value: Value) -> str:
        """The shape, where it is not that of the operands."""
        if family(value.op) is Family.ELEMENTWISE:
            return ""
        axes = inner_axes(self.cell)[: len(self.lead)] if value in self.varying else ()
        return shape_text((*(Dim.of(axis) for axis in axes), *value.shape))


def narrow_values(
    roots: Iterable[Value], varying: frozenset[Value], stored: Iterable[Value], wide: Collection[Value] = ()
) -> frozenset[Value]:
    """The values stored in 16 bits where data have 16: data, products of data with params, and what only moves them.

    Args:
        stored: values that a loop keeps for every position.
        wide: leaves and products that have full precision all the same.
    """
    narrow = {value for value in stored if value.kind is Kind.FLOAT}
    for value in postorder(roots):
        if value.kind is not Kind.FLOAT or value in wide or value in narrow:
            continue
        leaf = value.op in ("input", "param", "noise")
        product = value.op == "einsum" and is_layer(value, [arg in varying for arg in value.args])
        moved = value.op in _MOVES and all(arg in narrow for arg in value.args)
        if leaf or product or moved or (value.op == "gather" and value.args[0] in narrow):
            narrow.add(value)
    return frozenset(narrow)
