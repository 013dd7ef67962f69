"""Products of the vectors of all sequences with a matrix that stays the same: packed once, one call a position."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from lsrl.backends.expressions import Code
from lsrl.backends.kernel_form import KernelForm
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.indexing import Index, indices, times
from lsrl.backends.native.numbers import Numbers
from lsrl.backends.native.places import Places
from lsrl.backends.triton_memory import Role
from lsrl.ir.dims import Shape
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class StaticProduct:
    """`[..., outer] = [..., inner] @ matrix`: each sequence has a vector for each combination of leading axes.

    Attributes:
        vectors, matrix: what is multiplied; the matrix has the leading axes too.
        letters: the axes of the matrix.
        shared: those leading axes, in the order of vectors and result.
        inner, outer: the summed axis, and the one that the matrix brings.
    """

    vectors: Value
    matrix: Value
    letters: str
    shared: str
    inner: str
    outer: str

    def shape(self, letters: str) -> Shape:
        """The sizes of some axes of the matrix."""
        return tuple(self.matrix.shape[self.letters.index(letter)] for letter in letters)

    def sizes(self, numbers: Numbers) -> tuple[Code, Code]:
        """Of the summed axis, and of the one that the matrix brings."""
        inner, outer = (numbers.dim(size) for size in self.shape(self.inner + self.outer))
        return inner, outer

    def packed(self, numbers: Numbers) -> Code:
        """How many numbers one packed matrix has."""
        inner, outer = self.sizes(numbers)
        return Code(f"packed_size({inner}, {outer})")


def static_product(form: KernelForm, value: Value) -> StaticProduct | None:
    """The product that a value is, None where it is no such product."""
    if value.op != "einsum" or len(value.args) != 2:
        return None
    left, result = str(value.attr("spec")).split("->")
    pairs = list(zip(left.split(","), value.args, strict=True))
    static = [arg in form.views and form.is_static(arg) for arg in value.args]
    if static == [False, True]:
        pairs.reverse()
    elif static != [True, False]:
        return None
    (letters, matrix), (vector, arg) = pairs
    if not result or not vector or len(set(letters)) != len(letters) or len(set(vector)) != len(vector):
        return None
    shared, outer, inner = result[:-1], result[-1], vector[-1]
    fits = vector[:-1] == shared and outer not in vector and inner not in result
    if not fits or sorted(letters) != sorted(shared + outer + inner):
        return None
    return StaticProduct(arg, matrix, letters, shared, inner, outer)


def write_packing(product: StaticProduct, places: Places, name: str, writer: CWriter) -> None:
    """Pack the matrix, in the order in which products read it, into the array `name`."""
    numbers, view = places.numbers, places.form.views[product.matrix]
    source = places.tensors[Role.STATIC, str(view.base.attr("name"))]
    inner, outer = product.sizes(numbers)
    shape = product.shape(product.shared)
    whole = times(numbers.count(shape), product.packed(numbers))
    writer.line(f"real *{name} = new_array({whole} * sizeof(real));")
    steps = [numbers.dim(view.strides[product.letters.index(letter)]) for letter in (product.inner, product.outer)]
    names = indices(shape)
    where = dict(zip(product.shared, names, strict=True))
    own = Index(tuple(Code(where.get(letter, "0")) for letter in product.letters))
    first = places.place(view.offset, view.strides, own)
    at = times(numbers.flat(shape, Index(tuple(map(Code, names)))), product.packed(numbers))
    with ExitStack() as blocks:
        for index, size in zip(names, shape, strict=True):
            blocks.enter_context(writer.block(f"for (long {index} = 0; {index} < {numbers.dim(size)}; {index}++)"))
        passed = (beside(name, at), beside(source.name, first), inner, outer, *steps)
        writer.line(f"pack({', '.join(map(str, passed))});")


def beside(pointer: str, place: Code) -> str:
    """`pointer + place`"""
    return pointer if place.text == "0" else f"{pointer} + {place}"
