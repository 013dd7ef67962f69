"""What printing an operation for JAX depends on beside its operands: types, sizes, leading axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, call, dim_code, method, shape_code, subscript
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class Types:
    """How the emitted module names its types.

    Attributes:
        data: of inputs, params and outputs.
        real: of states and of everything computed; wider than `data` when that has 16 bits.
        whole, complex: of ints and of complex numbers.
    """

    data: str
    real: str
    whole: str
    complex: str

    @property
    def narrow(self) -> bool:
        """Whether data have 16 bits."""
        return self.data != self.real

    @property
    def widened(self) -> Types:
        """The types of a module whose data are as wide as what is computed."""
        return replace(self, data=self.real)

    def of(self, kind: Kind) -> str:
        """The type in which values of a kind are computed."""
        match kind:
            case Kind.BOOL:
                return "bool"
            case Kind.INT:
                return self.whole
            case Kind.FLOAT:
                return self.real
            case Kind.COMPLEX:
                return self.complex


TYPES: Mapping[str, Types] = {
    "float32": Types("jnp.float32", "jnp.float32", "jnp.int32", "jnp.complex64"),
    "float64": Types("jnp.float64", "jnp.float64", "jnp.int64", "jnp.complex128"),
    "bfloat16": Types("jnp.bfloat16", "jnp.float32", "jnp.int32", "jnp.complex64"),
    "float16": Types("jnp.float16", "jnp.float32", "jnp.int32", "jnp.complex64"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the module code is printed.

    Attributes:
        types: the module's types.
        sizes: the identifier of every size.
        lead: the leading axes of values that vary, as names of their lengths: all positions, one position, none.
    """

    types: Types
    sizes: Mapping[str, str]
    lead: tuple[str, ...]

    @property
    def letters(self) -> str:
        """The leading axes as letters of einsum."""
        return "bt"[: len(self.lead)]

    def dim(self, dim: Dim) -> Code:
        return dim_code(dim, self.sizes)

    def shape(self, shape: Shape, varies: bool) -> str:
        """The shape of an array, as a tuple."""
        return shape_code(shape, self.sizes, self.lead if varies else ())


@dataclass(frozen=True, slots=True)
class Operand:
    """A value as an operand in printed code.

    Attributes:
        varies: it has the leading axes of the place.
        host: it is a Python number, whose type gives way to that of the array it meets.
    """

    value: Value
    code: Code
    varies: bool
    host: bool = False

    @property
    def kind(self) -> Kind:
        return self.value.kind

    def as_type(self, kind: Kind, types: Types) -> Operand:
        """This operand with elements of another kind."""
        name = types.of(kind)
        code = call("jnp.asarray", self.code, name) if self.host else method(self.code, "astype", name)
        return Operand(self.value, code, self.varies)

    def beside(self, rank: int) -> Code:
        """The operand of an element-wise operation of that rank: a scalar that varies gets axes of length one."""
        if self.value.rank or not self.varies or not rank:
            return self.code
        return subscript(self.code, ", ".join(["...", *["None"] * rank]))


Printer = Callable[[Value, Sequence[Operand], Place], Code]


def promoted(operands: Sequence[Operand], kind: Kind, types: Types) -> list[Operand]:
    """The operands such that JAX's promotion arrives at `kind`.

    One array of that kind is enough, since Python numbers and narrower kinds give way to it; where there is none, the
    first array (or number, where all are numbers) is converted.
    """
    enough = (Kind.FLOAT, Kind.COMPLEX) if kind is Kind.COMPLEX and _has_complex(operands) else (kind,)
    if any(operand.kind in enough and not operand.host for operand in operands):
        return list(operands)
    arrays = [place for place, operand in enumerate(operands) if not operand.host]
    first = arrays[0] if arrays else 0
    return [o.as_type(kind, types) if place == first else o for place, o in enumerate(operands)]


def _has_complex(operands: Sequence[Operand]) -> bool:
    return any(operand.kind is Kind.COMPLEX for operand in operands)
