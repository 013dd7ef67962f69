"""Numbers of 16 bits in C: every one of them, and roundings of float32, against NumPy's and ml_dtypes'."""

import ctypes

import ml_dtypes
import numpy as np
import pytest

from support.c_calls import argument, c_library

TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
CODE = "\n".join(
    f"void from_{name}_each(long n, float *out, const uint16_t *x) {{"
    f" for (long i = 0; i < n; i++) out[i] = from_{name}(x[i]); }}\n"
    f"void to_{name}_each(long n, uint16_t *out, const float *x) {{"
    f" for (long i = 0; i < n; i++) out[i] = to_{name}(x[i]); }}"
    for name in TYPES
)


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return c_library(CODE, "float")


@pytest.mark.parametrize("name", TYPES)
@np.errstate(invalid="ignore")
def test_every_number(library: ctypes.CDLL, name: str) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    wide, back = np.empty(2**16, np.float32), np.empty_like(bits)
    library[f"from_{name}_each"](*map(argument, (bits.size, wide, bits)))
    np.testing.assert_array_equal(wide, bits.view(TYPES[name]).astype(np.float32))
    library[f"to_{name}_each"](*map(argument, (bits.size, back, wide)))
    nan = np.isnan(wide)
    np.testing.assert_array_equal(back[~nan], bits[~nan])
    assert np.isnan(back[nan].view(TYPES[name]).astype(np.float32)).all()


@pytest.mark.parametrize("name", TYPES)
@np.errstate(over="ignore", invalid="ignore")
def test_rounding(library: ctypes.CDLL, name: str) -> None:
    """Random numbers, those half way between two of 16 bits, and those right beside them."""
    rng = np.random.default_rng(0)
    low = np.arange(0x7C00 if name == "float16" else 0x7F80, dtype=np.uint16)
    halves = (low.view(TYPES[name]).astype(np.float64) + (low + 1).astype(np.uint16).view(TYPES[name])) / 2
    halves = halves.astype(np.float32)
    random = rng.integers(0, 2**32, 50000, dtype=np.uint32).view(np.float32)
    x = np.concatenate([random, halves, np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(np.inf))])
    x = np.concatenate([x, -x])
    x = x[~np.isnan(x)]
    found = np.empty(x.size, np.uint16)
    library[f"to_{name}_each"](*map(argument, (x.size, found, x)))
    np.testing.assert_array_equal(found, x.astype(TYPES[name]).view(np.uint16))
