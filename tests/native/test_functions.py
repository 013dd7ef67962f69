"""The functions of native code: accuracy against mpmath, special values as in the reference, loops that vectorise."""

import os
import re
import subprocess
from collections.abc import Callable
from functools import cache

import mpmath
import numpy as np
import pytest

from lsrl.backends.evaluation.elementwise import FUNCTIONS
from lsrl.backends.native.c_text import needed
from lsrl.backends.runtime.native_library import compiler_and_machine, compiling, straight
from support.c_calls import DTYPES, Array, elementwise, loops

EXACT = mpmath.MPContext()
EXACT.prec = 200
ACCURATE = (
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "logsigmoid", "silu", "gelu", "erf"),
    *("sin", "cos", "tan", "sqrt", "rsqrt"),
)
STATED = re.compile(r"within (?P<units>[\d.]+) ulp\.\nINLINE real (?P<name>\w+)_\(")
"""How a function's comment says how many units in the last place it may be wrong, in float32 and in float64."""

ROUNDING = ("sign", "floor", "ceil", "round", "relu", "abs")
UNARY = (*ACCURATE, *ROUNDING)
BINARY = {
    "maximum": "max",
    "minimum": "min",
    "logaddexp": "logaddexp",
    "atan2_": "atan2",
    "power": "pow",
    "remainder_": "mod",
    "floor_divide": "floordiv",
}
WHOLE = {
    "maximum_int": np.maximum,
    "minimum_int": np.minimum,
    "remainder_int": np.remainder,
    "floor_divide_int": np.floor_divide,
}
WHOLE_UNARY = {"abs_int": np.abs, "sign_int": np.sign, "relu_int": lambda x: np.maximum(x, 0)}
LIMITS = {"float": (87, 36), "double": (708, 300)}
"""The largest x whose e^x and e^-x are normal numbers, and the largest decimal exponent of such numbers."""


@cache
def functions(real: str) -> dict[str, Callable[..., Array]]:
    return elementwise({f"{name}_": 1 for name in UNARY} | dict.fromkeys(BINARY, 2), real)


@cache
def stated() -> dict[str, float]:
    """The units that functions are said to be within."""
    text = needed(" ".join(f"{name}_" for name in (*ACCURATE, "atan2")), "double")
    return {match["name"]: float(match["units"]) for match in STATED.finditer(text)}


def exact(name: str, *numbers: float) -> object:
    """The value in 200 bits."""
    x, *_ = operands = [EXACT.mpf(number) for number in numbers]
    match name:
        case "sigmoid":
            return 1 / (1 + EXACT.exp(-x))
        case "softplus":
            return EXACT.log1p(EXACT.exp(x))
        case "logsigmoid":
            return -EXACT.log1p(EXACT.exp(-x))
        case "silu":
            return x / (1 + EXACT.exp(-x))
        case "gelu":
            return x * EXACT.erfc(-x / EXACT.sqrt(2)) / 2
        case "rsqrt":
            return 1 / EXACT.sqrt(x)
    return getattr(EXACT, name)(*operands)


def numbers(name: str, real: str) -> Array:
    """Small, middling and large numbers, those near 1, and those of every size, where the function is defined."""
    rng = np.random.default_rng(sum(map(ord, name)))
    most, exponent = LIMITS[real]
    signs = rng.choice([-1, 1], 200)
    if name == "gelu":  # its own tail is one of e^(-x^2 / 2)
        most = int((2 * most) ** 0.5) - 1
    parts = [rng.uniform(-2, 2, 300), rng.uniform(-10, 10, 300), rng.uniform(-most, most, 300)]
    if name in ("sin", "cos", "tan"):
        parts += [np.arange(1, 200) * np.pi / 2, rng.uniform(-1e9, 1e9, 200)]
        parts += [signs * 10 ** rng.uniform(9, exponent, 200)]
    parts += [signs * 10 ** rng.uniform(-exponent, 0 if name in ("silu", "gelu") else exponent, 200)]
    x = np.concatenate(parts)
    match name:
        case "log" | "sqrt" | "rsqrt":
            x = np.abs(np.concatenate([x, np.exp(rng.uniform(-0.5, 0.5, 300))]))
        case "log1p":
            x = np.concatenate([x[x > -1], np.expm1(-rng.uniform(0, 30, 300))])
        case "exp" | "expm1" | "softplus" | "logsigmoid" | "sigmoid":
            x = x[np.abs(x) < most]
    return x.astype(DTYPES[real])


def units(found: Array, *operands: Array, name: str) -> float:
    """The largest error of what was found, in units of the last place."""
    last = np.spacing(np.abs(found))
    values = [exact(name, *map(float, each)) for each in zip(*operands)]
    return max(float(abs(EXACT.mpf(float(f)) - v) / EXACT.mpf(float(u))) for f, v, u in zip(found, values, last))


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("name", ACCURATE)
def test_accuracy(name: str, real: str) -> None:
    x = numbers(name, real)
    assert units(functions(real)[f"{name}_"](x), x, name=name) <= stated()[name]


@pytest.mark.parametrize("real", DTYPES)
def test_accuracy_of_the_angle(real: str) -> None:
    rng = np.random.default_rng(0)
    y, x = (10 ** rng.uniform(-6, 6, (2, 600)) * rng.choice([-1, 1], (2, 600))).astype(DTYPES[real])
    assert units(functions(real)["atan2_"](y, x), y, x, name="atan2") <= stated()["atan2"]


def specials(real: str) -> Array:
    kind = np.finfo(DTYPES[real])
    sizes = [0, kind.smallest_subnormal, kind.tiny / 2, kind.tiny, kind.eps / 4, 0.5, 1, 1.5, 2, 2.5, 7, 88.9, 104.1]
    sizes += [709.9, 746.5, 1e9, 1.01e9, 2.0**24 + 2, kind.max / 2, kind.max, np.inf, np.nan]
    return np.array([sign * size for size in sizes for sign in (1, -1)], DTYPES[real])


def assert_same(found: Array, expected: Array, *operands: Array) -> None:
    """Equal up to a few units in the last place, or a subnormal number; the same sign where 0; NaN where NaN."""
    kind = np.finfo(found.dtype)
    np.testing.assert_allclose(found, expected, rtol=8 * kind.eps, atol=104 * kind.smallest_subnormal)
    zero = (found == 0) & (expected == 0)
    differ = zero & (np.signbit(found) != np.signbit(expected))
    assert [operand[differ].tolist() for operand in operands] == [[] for _ in operands]


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("name", UNARY)
@np.errstate(all="ignore")
def test_special_values(name: str, real: str) -> None:
    x = specials(real)
    if name == "gelu":  # the reference doubles its operand on the way
        x = x[np.abs(x) != np.finfo(x.dtype).max]
    assert_same(functions(real)[f"{name}_"](x), FUNCTIONS[name](x.astype(float)).astype(x.dtype), x)


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("name", BINARY)
@np.errstate(all="ignore")
def test_special_pairs(name: str, real: str) -> None:
    x, y = map(np.ravel, np.meshgrid(specials(real), specials(real)))
    assert_same(functions(real)[name](x, y), FUNCTIONS[BINARY[name]](x, y), x, y)


@pytest.mark.parametrize("real", DTYPES)
@np.errstate(all="ignore")
def test_random_pairs(real: str) -> None:
    """Remainders are exact; a quotient of floats may be rounded to a whole number before it is rounded down."""
    rng = np.random.default_rng(1)
    x, y = (rng.choice([-1, 1], (2, 2000)) * 10 ** rng.uniform(-3, 3, (2, 2000))).astype(DTYPES[real])
    for name in ("maximum", "minimum", "remainder_", "floor_divide"):
        np.testing.assert_array_equal(functions(real)[name](x, y), FUNCTIONS[BINARY[name]](x, y), name)
    last = 4 * np.finfo(x.dtype).eps
    np.testing.assert_allclose(functions(real)["logaddexp"](x, y), np.logaddexp(x, y), rtol=last, atol=last)


@pytest.mark.parametrize("real", DTYPES)
def test_sums_of_exponentials_keep_what_is_small(real: str) -> None:
    """log(e^x + e^y) for an x that is much larger is x, and for x = y above it by log 2."""
    x = np.array([-1e30, -100, -3, 0, 5, 200], DTYPES[real])
    found = functions(real)["logaddexp"]
    np.testing.assert_array_equal(found(x, x - 1e3), x)
    np.testing.assert_array_equal(found(x, np.full_like(x, -np.inf)), x)
    np.testing.assert_allclose(found(x, x), x + np.log(2).astype(x.dtype), rtol=1e-7)


@pytest.mark.parametrize("real", DTYPES)
def test_whole_powers(real: str) -> None:
    exponents = {f"power_{n + 40}": n for n in (*range(-6, 17), -40, 25, 31)}
    code = "\n".join(f"INLINE real {name}(real x) {{ return power_int(x, {n}); }}" for name, n in exponents.items())
    powers = elementwise(dict.fromkeys(exponents, 1), real, code=code)
    x = np.array([-2, -1, 1, 0.5, np.inf], DTYPES[real])
    for name, n in exponents.items():
        np.testing.assert_array_equal(powers[name](x), np.power(x, n))


ENDS = (-(2**63), -(2**63) + 1, -(2**40), -7, -2, -1, 0, 1, 2, 3, 7, 2**40, 2**63 - 1)


@pytest.mark.parametrize("name", WHOLE)
@np.errstate(all="ignore")
def test_whole_numbers(name: str) -> None:
    x, y = map(np.ravel, np.meshgrid(ENDS, ENDS))
    found = elementwise(dict.fromkeys(WHOLE, 2), "float", "int64_t")[name](x, y)
    np.testing.assert_array_equal(found, WHOLE[name](x, y))


@pytest.mark.parametrize("name", WHOLE_UNARY)
def test_one_whole_number(name: str) -> None:
    x = np.array(ENDS)
    found = elementwise(dict.fromkeys(WHOLE_UNARY, 1), "float", "int64_t")[name](x)
    np.testing.assert_array_equal(found, WHOLE_UNARY[name](x))


def test_powers_of_whole_numbers() -> None:
    """Modulo 2^64; a negative exponent rounds towards 0."""
    x, n = map(np.ravel, np.meshgrid([-3, -2, -1, 0, 1, 2, 10], [-3, -2, 0, 1, 2, 5, 62, 63, 64]))
    found = elementwise({"power_whole": 2}, "float", "int64_t")["power_whole"](x, n)
    small = {1: lambda k: 1, -1: lambda k: 1 - 2 * (k % 2)}
    expected = [int(b) ** int(k) if k >= 0 else small.get(int(b), lambda k: 0)(int(k)) for b, k in zip(x, n)]
    np.testing.assert_array_equal(found, [(value + 2**63) % 2**64 - 2**63 for value in expected])


@pytest.mark.parametrize("real", DTYPES)
def test_loops_vectorise(real: str) -> None:
    """The compiler says so of each loop; clang vectorises none that calls a function."""
    gcc = "gcc version" in compiler_and_machine()
    beyond_clang = () if gcc else ("sin_", "cos_", "tan_", "power", "remainder_", "floor_divide")
    names = {f"{name}_": 1 for name in UNARY} | dict.fromkeys(BINARY, 2)
    wanted = names.keys() - {*beyond_clang}
    powers = {f"power_{n}": n for n in range(2, 9)}
    code = "\n".join(f"INLINE real {name}(real x) {{ return power_int(x, {n}); }}" for name, n in powers.items())
    code += f"\n{loops(names | dict.fromkeys(powers, 1))}"
    wanted |= powers.keys()
    said = ("-fopt-info-vec",) if gcc else ("-Rpass=loop-vectorize",)
    command = [*compiling(), *straight(), *said, "-fopenmp-simd", "-", "-o", os.devnull, "-lm"]
    run = subprocess.run(command, input=f"{needed(code, real)}\n{code}", capture_output=True, text=True, check=True)
    assert wanted - set(re.findall(r"^(\w+):\d+:\d+:.* vectorized", run.stderr, re.MULTILINE)) == set()
