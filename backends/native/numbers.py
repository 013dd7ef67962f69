"""Numbers in C: constants stand in a kernel's text, sizes and what is made of them are its arguments.

So the text, and what is compiled of it, is the same for all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan

from lsrl.backends.expressions import Arithmetic, Code, dim_code
from lsrl.backends.host_numbers import HostNumber, Number, host_number
from lsrl.backends.identifiers import identifiers
from lsrl.backends.native.indexing import Index, flat_index
from lsrl.backends.native.operations import TYPES, cast
from lsrl.backends.triton_memory import Identifiers
from lsrl.ir.dims import Dim, Shape, count
from lsrl.ir.infer import dim
from lsrl.ir.value import Value

LARGEST_LITERAL = 2**31

_C = Arithmetic("/", lambda base, power: Code(f"({' * '.join([base.text] * power)})"))


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a kernel.

    Attributes:
        sizes: the identifier of every size in C.
        outside: that in the module around.
        known: the number of every size.
        names: from which arguments get their names.
        arguments: what the kernel takes beside sizes, filled as it is written: by the expression of the module around
            that computes it, its name and type.
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

    def flat(self, shape: Shape, index: Index) -> Code:
        """The place of an element in row-major order."""
        return index.flat if index.flat is not None else flat_index(shape, index.axes, self.dim)

    def is_number(self, value: Value) -> bool:
        """Whether a value is written as a number wherever it is read."""
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


def _literal(number: Number) -> Code:
    """A number; small whole ones have no type of their own, and take that of their surroundings."""
    assert not isinstance(number, complex)
    if isinstance(number, bool):
        return Code(str(int(number)))
    if not isfinite(number):
        return cast("real", Code("NAN" if isnan(number) else "INFINITY" if number > 0 else "-INFINITY"))
    whole = number == int(number) and abs(number) < LARGEST_LITERAL
    text = str(int(number)) if whole else repr(number)
    signed = Code(text if number >= 0 else f"({text})")
    return signed if whole else cast("real" if isinstance(number, float) else "int64_t", signed)
