"""The product of native code against NumPy: every remainder of rows and columns, strides, and what it may touch."""

import numpy as np
import pytest

from support.c_calls import DTYPES, Array, argument, c_library
from support.process import run_python

CODE = """
long size(long inner, long outer) { return packed_size(inner, outer); }

void lay(real *packed, const data *matrix, long inner, long outer, long inner_stride, long outer_stride) {
    pack(packed, matrix, inner, outer, inner_stride, outer_stride);
}

void multiply(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows, long inner,
              long outer, long added) {
    if (added) product_added(out, out_stride, x, x_stride, packed, rows, inner, outer);
    else product(out, out_stride, x, x_stride, packed, rows, inner, outer);
}
"""
# Both sides of a vector, of two, and of a panel of three, for vectors of 2 to 16 numbers.
WIDTHS = (1, 2, 3, 5, 7, 12, 16, 17, 24, 25, 31, 32, 33, 48, 49, 96, 97)


def packed(matrix: Array, real: str, stored: str = "", transposed: bool = False) -> Array:
    """`matrix` as the product takes it; with a margin of NaN, which must not be read."""
    library = c_library(CODE, real, stored)
    inner, outer = matrix.shape
    laid = np.ascontiguousarray(matrix.T if transposed else matrix)
    strides = (1, inner) if transposed else (outer, 1)
    found = np.full(library.size(*map(argument, matrix.shape)) + 64, np.nan, DTYPES[real])
    library.lay(*map(argument, (found, laid, inner, outer, *strides)))
    assert np.isnan(found[-64:]).all()
    assert np.isnan(found[:-64]).sum() == np.isnan(matrix).sum()
    return found


def multiplied(x: Array, matrix: Array, real: str, start: Array | None = None, transposed: bool = False) -> Array:
    """x @ matrix, added to `start` where it is given; rows of x and of the result have gaps of NaN between them."""
    (rows, inner), outer = x.shape, matrix.shape[1]
    spread, out = (np.full((rows, width + 5), np.nan, DTYPES[real]) for width in (inner, outer))
    spread[:, :inner] = x
    if start is not None:
        out[:, :outer] = start
    numbers = (outer + 5, spread, inner + 5, packed(matrix, real, transposed=transposed), rows, inner, outer)
    c_library(CODE, real).multiply(*map(argument, (out, *numbers, int(start is not None))))
    assert np.isnan(out[:, outer:]).all()
    return out[:, :outer]


def whole(rng: np.random.Generator, real: str, *shape: int) -> Array:
    """Small whole numbers, of which sums of products are exact in every order."""
    return rng.integers(-8, 9, shape).astype(DTYPES[real])


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("inner", [1, 2, 9, 64])
def test_every_remainder(real: str, inner: int) -> None:
    rng = np.random.default_rng(0)
    for rows in (*range(1, 10), 13, 16, 19):
        for outer in WIDTHS:
            x, matrix = whole(rng, real, rows, inner), whole(rng, real, inner, outer)
            np.testing.assert_array_equal(multiplied(x, matrix, real), x @ matrix, f"{rows} rows, {outer} columns")


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_is_added(real: str, transposed: bool) -> None:
    rng = np.random.default_rng(1)
    for rows, outer in ((1, 3), (3, 16), (8, 48), (11, 53)):
        x, matrix, start = whole(rng, real, rows, 7), whole(rng, real, 7, outer), whole(rng, real, rows, outer)
        np.testing.assert_array_equal(multiplied(x, matrix, real, start, transposed), start + x @ matrix)


@pytest.mark.parametrize("inner", [0, 511, 512, 513, 1030])
def test_sums_that_are_taken_in_parts(inner: int) -> None:
    rng = np.random.default_rng(5)
    x, matrix, start = whole(rng, "float", 9, inner), whole(rng, "float", inner, 67), whole(rng, "float", 9, 67)
    np.testing.assert_array_equal(multiplied(x, matrix, "float"), x @ matrix)
    np.testing.assert_array_equal(multiplied(x, matrix, "float", start), start + x @ matrix)


@pytest.mark.parametrize(("real", "tolerance"), [("float", 1e-6), ("double", 2e-15)])
def test_rounding(real: str, tolerance: float) -> None:
    """Errors relative to sum |x| |matrix|."""
    rng = np.random.default_rng(2)
    x, matrix = (rng.standard_normal(shape).astype(DTYPES[real]) for shape in ((5, 1300), (1300, 70)))
    exact = x.astype(np.longdouble) @ matrix.astype(np.longdouble)
    assert np.all(np.abs(multiplied(x, matrix, real) - exact) <= tolerance * (np.abs(x) @ np.abs(matrix)))


def test_rows_do_not_depend_on_their_number() -> None:
    rng = np.random.default_rng(3)
    x, matrix = rng.standard_normal((13, 100)), rng.standard_normal((100, 40))
    every = multiplied(x, matrix, "double")
    for rows in (1, 2, 5, 9):
        np.testing.assert_array_equal(multiplied(x[:rows], matrix, "double"), every[:rows])


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_specials_stay_in_their_row_and_column(special: float) -> None:
    x, matrix = np.ones((9, 4)), np.ones((4, 50))
    x[6, 2] = matrix[1, 49] = special
    np.testing.assert_array_equal(multiplied(x, matrix, "double"), x @ matrix)


@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_matrices_of_16_bits(stored: str) -> None:
    """Small whole numbers are exact in 16 bits."""
    rng = np.random.default_rng(4)
    matrix = whole(rng, "float", 20, 35)
    bits = (matrix.view(np.uint32) >> 16).astype(np.uint16) if stored == "bfloat16" else matrix.astype(np.float16)
    np.testing.assert_array_equal(packed(bits, "float", stored)[:-64], packed(matrix, "float")[:-64])


AT_THE_EDGE = """
import ctypes, mmap, sys

sys.path.insert(0, "tests")
import numpy as np
from native.test_product import CODE
from support.c_calls import argument, c_library

libc = ctypes.CDLL(None)
keep = []


def at_the_edge(shape):
    pages = mmap.mmap(-1, 8 * mmap.PAGESIZE)  # the last of them must not be touched
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    size = 4 * int(np.prod(shape))
    found = np.frombuffer(pages, np.float32, size // 4, 7 * mmap.PAGESIZE - size).reshape(shape)
    assert libc.mprotect(ctypes.c_void_p(start + 7 * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    keep.append(pages)
    found[...] = 1
    return found


library = c_library(CODE, "float")
for rows, inner, outer in ((1, 5, 3), (3, 2, 17), (8, 3, 48), (9, 4, 50)):
    x, matrix, out = (at_the_edge(shape) for shape in ((rows, inner), (inner, outer), (rows, outer)))
    laid = at_the_edge((library.size(*map(argument, (inner, outer))),))
    library.lay(*map(argument, (laid, matrix, inner, outer, outer, 1)))
    library.multiply(*map(argument, (out, outer, x, inner, laid, rows, inner, outer, 0)))
    assert (out == inner).all()
print("untouched")
"""


def test_nothing_is_touched_beyond_the_arrays() -> None:
    """A process of its own, which would be ended."""
    assert run_python("-c", AT_THE_EDGE).strip() == "untouched"
