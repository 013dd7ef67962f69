"""Nests of element-wise work as C, and what all nests share: loops over axes, elements behind moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lsrl.backends.expressions import Code, call
from lsrl.backends.naming import Names
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.indexing import Index, identity, indices, moved, operands, resolved
from lsrl.backends.native.nests import Nests, is_leaf
from lsrl.backends.native.operations import PRINTERS, TYPES, Element, cast
from lsrl.backends.native.places import Places
from lsrl.backends.statements import Statements, Target
from lsrl.backends.writer import origin_of
from lsrl.ir.infer import integer
from lsrl.ir.value import Kind, Value

SIMD = "#pragma omp simd"
FIRST, END = "from", "to"
"""The part of an axis that a thread runs, where threads share one."""


class Registers(Statements):
    """Statements on elements in registers."""

    def pieces(self, value: Value) -> tuple[Value, ...]:
        return ()

    def _assign(self, value: Value, code: Code, users: Iterable[Value]) -> None:
        self.writer.origin(origin_of(self.cell, value, users))
        self.writer.line(f"const {TYPES[value.kind]} {self.names[value]} = {code};")
        self.bind(value)


@dataclass(frozen=True, slots=True)
class Elements:
    """Reads elements, and writes loops over them.

    Attributes:
        names: of values.
        nests: of the loop's position.
        places: where elements lie.
        cut: the axes that threads share.
    """

    names: Names
    nests: Nests
    places: Places
    cut: frozenset[tuple[Value, int]]

    def head(self, value: Value, axis: int, index: str) -> str:
        """The head of the loop over an axis of a value."""
        start, end = (FIRST, END) if (value, axis) in self.cut else ("0", self.places.numbers.dim(value.shape[axis]))
        return f"for (long {index} = {start}; {index} < {end}; {index}++)"

    @contextmanager
    def over(self, value: Value, writer: CWriter) -> Iterator[None]:
        """Loops over all axes of a value; the elements of the last can be computed at once."""
        with ExitStack() as blocks:
            for axis, index in enumerate(indices(value.shape)):
                if axis == value.rank - 1:
                    writer.text(SIMD)
                blocks.enter_context(writer.block(self.head(value, axis, index)))
            yield

    def read(self, value: Value, index: Index, codes: Mapping[Value, Code] | None = None) -> Element:
        """An element of a value, behind moves.

        Args:
            codes: elements in registers of this turn of the nest.
        """
        leaf, at = resolved(value, index, self._is_leaf, self.places.numbers.dim)
        if codes and leaf in codes and at == identity(leaf):
            return Element(leaf, codes[leaf])
        return self.places.element(leaf, at)

    def behind(self, value: Value) -> Value:
        """What is read for a value."""
        return resolved(value, identity(value), self._is_leaf, self.places.numbers.dim)[0]

    def _is_leaf(self, value: Value) -> bool:
        return is_leaf(value, self.places.form, self.nests.copied, self.places.numbers.is_number)

    def registers(self, writer: CWriter) -> Registers:
        """The statements of one turn of a nest."""

        def express(value: Value, codes: Mapping[Value, Code]) -> Code:
            if value in self.nests.copied:
                return self._copied(value)
            if value.op == "gather":
                return self._gathered(value, codes)
            given = [self.read(arg, index, codes) for arg, index in operands(value, identity(value))]
            if all(each.literal for each in given) and value.kind is Kind.FLOAT:
                given = [Element(each.value, cast("real", each.code)) for each in given]
            return PRINTERS[value.op](value, given)

        def unsplit(value: Value, code: Code, axis: int, sizes: object) -> Code:
            raise AssertionError("elements are not split")

        target = Target(self.places.numbers.is_number, lambda _: False, express, lambda _: "", unsplit)
        return Registers(self.places.form.cell, self.names, writer, target)

    def _copied(self, value: Value) -> Code:
        index = identity(value)
        if value in self.places.form.views:
            return self.places.read(value, index)
        inner = value.args[0]
        return self.read(inner, moved(value, inner, index, self.places.numbers.dim)).code

    def _gathered(self, value: Value, codes: Mapping[Value, Code]) -> Code:
        """The element of a table; an index outside is clamped."""
        (chosen, at), (table, open_) = operands(value, identity(value))
        last = self.places.numbers.dim(table.shape[integer(value.attr("axis"))] - 1)
        place = call("minimum_int", call("maximum_int", self.read(chosen, at, codes).code, 0), last)
        return self.read(table, Index(tuple(code if code.text else place for code in open_.axes))).code
