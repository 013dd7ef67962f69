"""Functions that kernels define for themselves, in the interpreter against NumPy in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.elementwise import FUNCTIONS
from lsrl.backends.kernel_functions import KERNEL_FUNCTIONS, NUMBER_FUNCTIONS
from lsrl.backends.module_loader import load_module

KERNEL = """
@triton.jit
def unary_kernel(x, y, N: tl.constexpr):
    o_n = tl.arange(0, N)
    tl.store(y + o_n, {function}(tl.load(x + o_n)))


@triton.jit
def binary_kernel(x, y, z, N: tl.constexpr):
    o_n = tl.arange(0, N)
    tl.store(z + o_n, {function}(tl.load(x + o_n), tl.load(y + o_n)))
"""
UNARY: dict[str, Callable[[Array], Array]] = {
    **{name: FUNCTIONS[name] for name in ("tanh", "expm1", "log1p", "softplus", "logsigmoid", "silu", "sign", "tan")},
    "gelu": FUNCTIONS["gelu"],
    "rounded": np.rint,
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "logaddexp": np.logaddexp,
    "floor_divide": np.floor_divide,
    "remainder": np.mod,
    "power": np.power,
}
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan)
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def call(function: str, *arguments: torch.Tensor) -> torch.Tensor:
    header = "import triton\nimport triton.language as tl\n\n\n"
    text = header + "\n\n".join(KERNEL_FUNCTIONS.values()) + KERNEL.format(function=function)
    module = load_module(text, "kernel_functions_module")
    result = torch.empty_like(arguments[0])
    kernel = module.unary_kernel if len(arguments) == 1 else module.binary_kernel
    with np.errstate(all="ignore"):
        kernel[(1,)](*arguments, result, N=len(result))
    return result


def operands() -> Array:
    """Numbers of every size, both signs, close to where the functions change their form."""
    sizes = np.concatenate([np.logspace(-12, 1.9, 75), [0.0999, 0.1, 0.1001, 0.5, 1.0, 1.5, 2.5, 1e4]])
    return np.concatenate([sizes, -sizes, SPECIAL])


def padded(numbers: Array, dtype: torch.dtype) -> torch.Tensor:
    length = 1 << (len(numbers) - 1).bit_length()
    return torch.tensor(np.concatenate([numbers, np.ones(length - len(numbers))])).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("function", UNARY)
def test_unary(function: str, dtype: torch.dtype) -> None:
    x = padded(operands(), dtype)
    with np.errstate(all="ignore"):
        wanted = UNARY[function](x.double().numpy())
    found = call(function, x).double().numpy()
    if function == "gelu":  # x Phi(x) by erf: exact to a part of x, not of the result, far on the negative side
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=1e-6 if dtype == torch.float32 else 1e-14)
        return
    smallest = 1e-37 if dtype == torch.float32 else 0.0  # what single precision rounds to 0 is out of reach
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=smallest)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("function", BINARY)
def test_binary(function: str, dtype: torch.dtype) -> None:
    some = np.array([-3.0, -2.5, -1.0, -0.3, 0.5, 1.0, 2.0, 3.0, 7.25, 1e-3, *SPECIAL])
    if function in ("floor_divide", "remainder"):
        some = some[:10]  # by 0 and of infinities both are undefined
    x, y = (padded(each.ravel(), dtype) for each in np.meshgrid(some, some))
    with np.errstate(all="ignore"):
        wanted = BINARY[function](x.double().numpy(), y.double().numpy())
    found = call(function, x, y).double().numpy()
    # The logarithm's last digit counts as often as the power says; a remainder is exact to a part of its operands.
    rtol, atol = {"power": (20.0, 0.0), "remainder": (1.0, 1.0)}.get(function, (1.0, 0.0))
    np.testing.assert_allclose(found, wanted, rtol=rtol * TOLERANCE[dtype], atol=atol * TOLERANCE[dtype])


@pytest.mark.parametrize(("function", "numpy"), [("floor_divide_int", np.floor_divide), ("remainder", np.mod)])
def test_whole_numbers(function: str, numpy: Callable[[Array, Array], Array]) -> None:
    x, y = (torch.tensor(each.ravel()) for each in np.meshgrid(np.arange(-16, 16), [-7, -3, -2, -1, 1, 2, 3, 7]))
    np.testing.assert_array_equal(call(function, x, y).numpy(), numpy(x.numpy(), y.numpy()))


def test_every_function_is_tested() -> None:
    assert set(NUMBER_FUNCTIONS) == {*UNARY, *BINARY, "floor_divide_int", "power_int"}


@pytest.mark.parametrize("parts", [2, 4])
def test_columns_are_dealt_in_turn(parts: int) -> None:
    names = ", ".join(f"part_{n}" for n in range(parts))
    stores = "\n".join(f"    tl.store(out + {n * 8 * 16} + at, part_{n})" for n in range(parts))
    text = f"""import triton
import triton.language as tl

{KERNEL_FUNCTIONS[f"dealt_{parts}"]}

@triton.jit
def kernel(x, out):
    at = tl.arange(0, 8)[:, None] * 16 + tl.arange(0, 16)[None, :]
    whole = tl.load(x + tl.arange(0, 8)[:, None] * {16 * parts} + tl.arange(0, {16 * parts})[None, :])
    {names} = dealt_{parts}(whole, 8, 16)
{stores}
"""
    x, out = torch.randn(8, 16 * parts), torch.empty(parts, 8, 16)
    load_module(text, f"dealt_{parts}").kernel[(1,)](x, out)
    assert torch.equal(out, x.reshape(8, 16, parts).movedim(-1, 0))
