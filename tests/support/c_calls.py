"""C text of the compiler's own, called with NumPy arrays."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lsrl.backends.native.c_text import needed
from lsrl.backends.runtime.native_library import library

Array = npt.NDArray[Any]
DTYPES = {"float": np.float32, "double": np.float64}


def c_library(code: str, real: str, stored: str = "") -> ctypes.CDLL:
    """The library of a C text, with what it needs before it."""
    return library(f"{needed(code, real, stored)}\n{code}")


def argument(value: Array | int) -> Any:
    """An array as the address of its first element, a whole number as `long`."""
    return ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else ctypes.c_long(value)


def loops(names: Mapping[str, int], number: str = "real") -> str:
    """C functions `each_NAME` that apply a function to every element of arrays; each begins a file of its name."""
    texts = []
    for name, operands in names.items():
        arrays = "".join(f", const {number} *a{k}" for k in range(operands))
        elements = ", ".join(f"a{k}[i]" for k in range(operands))
        texts.append(
            f'#line 1 "{name}"\n'
            f"void each_{name}(long n, {number} *out{arrays}) {{\n"
            f"#pragma omp simd\n"
            f"    for (long i = 0; i < n; i++) out[i] = {name}({elements});\n}}\n"
        )
    return "\n".join(texts)


def elementwise(
    names: Mapping[str, int], real: str, number: str = "real", code: str = ""
) -> dict[str, Callable[..., Array]]:
    """Functions of C by name, ours or those of `code`, for arrays; `names` says how many operands each takes."""
    found = c_library(f"{code}\n{loops(names, number)}", real)

    def applied(name: str) -> Callable[..., Array]:
        def function(*arrays: Array) -> Array:
            operands = [np.ascontiguousarray(array) for array in arrays]
            out = np.empty_like(operands[0])
            found[f"each_{name}"](argument(out.size), *map(argument, [out, *operands]))
            return out

        return function

    return {name: applied(name) for name in names}
