"""Element-wise operations in NumPy, in forms that are safe for large, tiny and infinite operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.scope import Kernel, Scope
from lsrl.ir.infer import promote
from lsrl.ir.value import Kind, Value

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1 + small))


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def gelu(x: Array) -> Array:
    """x Phi(x); erfc keeps the tail of negative x."""
    return np.asarray(x * np.asarray(_erfc(-x / math.sqrt(2)), x.dtype) / 2)


FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "relu": lambda x: np.maximum(x, 0),
    "expm1": np.expm1,
    "log1p": np.log1p,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "logsigmoid": lambda x: -softplus(-x),
    "silu": lambda x: x * sigmoid(x),
    "gelu": gelu,
    "erf": lambda x: np.asarray(_erf(x), x.dtype),
    "cis": lambda x: np.cos(x.real) + 1j * np.sin(x.real),
    "re": np.real,
    "im": np.imag,
    "arg": np.angle,
    "conj": np.conj,
    "abs": np.abs,
    "stopgrad": lambda x: x,
    "add": np.add,
    "mul": np.multiply,
    "sub": np.subtract,
    "div": np.true_divide,
    "pow": np.power,
    "mod": np.mod,
    "floordiv": np.floor_divide,
    "max": np.maximum,
    "min": np.minimum,
    "logaddexp": np.logaddexp,
    "atan2": np.arctan2,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "not": np.logical_not,
}


def apply(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """Operands are promoted to one kind, at least the result's: two bools add up to an int."""
    kind = promote([value.kind, *(arg.kind for arg in value.args)])
    return FUNCTIONS[value.op](*(array.astype(scope.dtype(kind), copy=False) for array in aligned(value, args)))


def cast(value: Value, args: Sequence[Array], scope: Scope) -> Array:
    """Complex to real keeps the real part, float to int truncates, anything but 0 is true."""
    match value.kind:
        case Kind.BOOL:
            return np.asarray(args[0] != 0)
        case Kind.COMPLEX:
            return args[0].astype(scope.dtype(value.kind), copy=False)
        case _:
            return args[0].real.astype(scope.dtype(value.kind), copy=False)


def where(value: Value, args: Sequence[Array], _: Scope) -> Array:
    condition, x, y = aligned(value, args)
    return np.where(condition, x, y)


def aligned(value: Value, args: Sequence[Array]) -> list[Array]:
    """The operands' arrays with axes of length 1 where a scalar meets a value with axes."""
    return [a.reshape(a.shape + (1,) * (value.rank - arg.rank)) for arg, a in zip(value.args, args)]


KERNELS: Mapping[str, Kernel] = {**dict.fromkeys(FUNCTIONS, apply), "cast": cast, "where": where}
