"""What printing an operation for PyTorch depends on beside its operands: types, sizes, leading axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, call, dim_code, method, shape_code, subscript
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.infer import PROMOTION
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True, slots=True)
class Types:
    """How the emitted module names its types.

    Attributes:
        data: of inputs, params and outputs, and of products of the two.
        real: of states and of everything computed; wider than `data` when that has 16 bits.
        complex: of complex numbers.
        pointer: of `data` and of `real`, as Triton abbreviates them.
        native: whole sequences meet matrices in C.
    """

    data: str
    real: str
    complex: str
    pointer: tuple[str, str]
    native: bool = False

    @property
    def narrow(self) -> bool:
        """Whether data have 16 bits."""
        return self.data != self.real

    def of(self, kind: Kind) -> str:
        """The type in which values of a kind are computed."""
        match kind:
            case Kind.BOOL:
                return "torch.bool"
            case Kind.INT:
                return "torch.int64"
            case Kind.FLOAT:
                return self.real
            case Kind.COMPLEX:
                return self.complex


TYPES: Mapping[str, Types] = {
    "float32": Types("torch.float32", "torch.float32", "torch.complex64", ("fp32", "fp32")),
    "float64": Types("torch.float64", "torch.float64", "torch.complex128", ("fp64", "fp64")),
    "bfloat16": Types("torch.bfloat16", "torch.float32", "torch.complex64", ("bf16", "fp32")),
    "float16": Types("torch.float16", "torch.float32", "torch.complex64", ("fp16", "fp32")),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the module code is printed.

    Attributes:
        types: the module's types.
        sizes: the identifier of every size.
        lead: the leading axes of values that vary, as names of their lengths: all positions, one position, none.
        narrow: the values that are stored in 16 bits.
    """

    types: Types
    sizes: Mapping[str, str]
    lead: tuple[str, ...]
    narrow: frozenset[Value] = frozenset()

    @property
    def letters(self) -> str:
        """The leading axes as letters of einsum."""
        return "bt"[: len(self.lead)]

    def dim(self, dim: Dim) -> Code:
        return dim_code(dim, self.sizes)

    def shape(self, shape: Shape, varies: bool) -> str:
        """The shape of a tensor, as a tuple."""
        return shape_code(shape, self.sizes, self.lead if varies else ())


@dataclass(frozen=True, slots=True)
class Operand:
    """A value as an operand in printed code.

    Attributes:
        varies: it has the leading axes of the place.
        host: it is a Python number, whose type gives way to that of the tensor it meets.
        narrow: it is stored in 16 bits.
    """

    value: Value
    code: Code
    varies: bool
    host: bool = False
    narrow: bool = False

    @property
    def kind(self) -> Kind:
        return self.value.kind

    def tensor(self, types: Types) -> Operand:
        """This operand as a tensor: a number becomes one of no axes, which meets tensors of any device."""
        if not self.host:
            return self
        code = call("torch.tensor", self.code, dtype=types.of(self.kind))
        return Operand(self.value, code, self.varies)

    def as_type(self, kind: Kind, types: Types) -> Operand:
        """This operand as a tensor with elements of another kind, floats in full width."""
        if self.host:
            return replace(self, code=call("torch.tensor", self.code, dtype=types.of(kind)), host=False)
        return replace(self, code=method(self.code, "to", types.of(kind)), narrow=False)

    def wide(self) -> Operand:
        """This operand in the width that is computed in."""
        return replace(self, code=method(self.code, "float"), narrow=False) if self.narrow else self

    def beside(self, rank: int) -> Code:
        """The operand of an element-wise operation of that rank: a scalar that varies gets axes of length one."""
        if self.value.rank or not self.varies or not rank:
            return self.code
        return subscript(self.code, ", ".join(["...", *["None"] * rank]))


Printer = Callable[[Value, Sequence[Operand], Place], Code]


def promoted(operands: Sequence[Operand], kind: Kind, types: Types) -> list[Operand]:
    """The operands such that PyTorch's promotion arrives at `kind`.

    Tensors of lesser kinds are converted, except beside a complex one, to which floats give way; numbers give way to
    any tensor, and where there is no tensor the first number becomes one.
    """
    found = [_raised(operand.wide(), kind, types) for operand in operands]
    if all(operand.host for operand in found):
        return [found[0].as_type(kind, types), *found[1:]]
    return found


def _raised(operand: Operand, kind: Kind, types: Types) -> Operand:
    if operand.host and operand.kind is Kind.BOOL and kind is not Kind.BOOL:
        return replace(operand, code=call("int", operand.code))
    least = Kind.FLOAT if kind is Kind.COMPLEX else kind
    enough = PROMOTION.index(operand.kind) >= PROMOTION.index(least)
    return operand if operand.host or enough else operand.as_type(kind, types)
