"""What a graph costs: arithmetic per position, and elements that move.

An elementwise operation counts one per element whatever it is, a product of a matrix with a vector two per element of
the matrix; complex sums count two, complex products six.  Moving and picking elements counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value

COMPLEX_SUM, COMPLEX_PRODUCT = 2, 6
_PER_ELEMENT = {"softmax": 3, "logsumexp": 2}


def elements(value: Value, sizes: Mapping[str, int]) -> int:
    """The number of elements of a value at one position."""
    return prod(size.evaluate(sizes) for size in value.shape)


def flops(values: Iterable[Value], sizes: Mapping[str, int]) -> int:
    """The arithmetic of operations at one position."""
    return sum(_flops(value, sizes) for value in values)


def _flops(value: Value, sizes: Mapping[str, int]) -> int:
    complex_ = any(v.kind is Kind.COMPLEX for v in (value, *value.args))
    match family(value.op):
        case Family.ELEMENTWISE:
            product = COMPLEX_PRODUCT if value.op in ("mul", "div") else COMPLEX_SUM
            return elements(value, sizes) * (product if complex_ else 1)
        case Family.CONTRACTION:
            return _contraction(value, sizes, complex_)
        case Family.REDUCTION | Family.GRAPH:
            per = _PER_ELEMENT.get(value.op, 0 if value.op == "read" else 1)
            return elements(value.args[0], sizes) * per * (COMPLEX_SUM if complex_ else 1)
        case Family.STENCIL:
            return 2 * _stencil(value, sizes)
        case Family.SYSTEM:
            return _system(value, sizes) * (COMPLEX_PRODUCT if complex_ else 1)
        case _:
            return 0


def _contraction(value: Value, sizes: Mapping[str, int], complex_: bool) -> int:
    """Products, and sums over the axes that the result lacks, at every point of the space of all axes."""
    left, result = str(value.attr("spec")).split("->")
    lengths = {
        letter: dim.evaluate(sizes)
        for letters, arg in zip(left.split(","), value.args)
        for letter, dim in zip(letters, arg.shape)
    }
    products, sums = len(value.args) - 1, int(not set(lengths) <= set(result))
    per_point = products * COMPLEX_PRODUCT + sums * COMPLEX_SUM if complex_ else products + sums
    return prod(lengths.values()) * per_point


def _system(value: Value, sizes: Mapping[str, int]) -> int:
    """Elimination, and two triangles for each column: 2/3 n³ + 2 n² m."""
    *lead, rows, columns = (dim.evaluate(sizes) for dim in value.shape)
    return prod(lead) * (2 * rows**3 // 3 + 2 * rows**2 * columns)


def _stencil(value: Value, sizes: Mapping[str, int]) -> int:
    """Multiplications of a convolution or one of its adjoints: output points times the kernel behind each."""
    first, second = value.args
    match value.op:
        case "conv":
            points, kernel = value, second
        case "conv_dx":
            points, kernel = first, second
        case _:
            points, kernel = second, value
    per_channel = elements(kernel, sizes) // max(1, kernel.shape[0].evaluate(sizes))
    return elements(points, sizes) * per_channel
