"""Functions that emitted kernels define for themselves: Triton's interpreter and its compiler both know their parts."""

from __future__ import annotations

from collections.abc import Mapping

MAXIMUM = '''
@triton.jit
def maximum(x, y):
    """The larger; NaN where one of them is."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
'''

MINIMUM = '''
@triton.jit
def minimum(x, y):
    """The smaller; NaN where one of them is."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)
'''

MULTIPLY = '''
@triton.jit
def multiply(x, y):
    return x * y
'''

TANH = '''
@triton.jit
def tanh(x):
    """Hyperbolic tangent; its series near 0, where the quotient loses digits."""
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    s = x * x
    near = x * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
    return tl.where(s < 0.01, near, tl.where(x < 0, -far, far))
'''

EXPM1 = '''
@triton.jit
def expm1(x):
    """exp(x) - 1; its series near 0, where the difference loses digits."""
    near = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7 * (1 + x / 8)))))))
    return tl.where(tl.abs(x) < 0.1, near, tl.exp(x) - 1)
'''

LOG1P = '''
@triton.jit
def log1p(x):
    """log(1 + x); near 0 the series of 2 artanh(x / (2 + x)), where the sum loses digits."""
    s = x / (2 + x)
    q = s * s
    near = 2 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9)))))
    return tl.where(tl.abs(x) < 0.1, near, tl.log(1 + x))
'''

SOFTPLUS = '''
@triton.jit
def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))
'''

LOGSIGMOID = '''
@triton.jit
def logsigmoid(x):
    """-log(1 + exp(-x)) without overflow."""
    return minimum(x, 0.0) - log1p(tl.exp(-tl.abs(x)))
'''

LOGADDEXP = '''
@triton.jit
def logaddexp(x, y):
    """log(exp(x) + exp(y)); equal operands, which may be infinite, apart."""
    apart = maximum(x, y) + log1p(tl.exp(-tl.abs(x - y)))
    return tl.where(x == y, x + 0.6931471805599453, apart)
'''

SILU = '''
@triton.jit
def silu(x):
    return x * tl.sigmoid(x)
'''

GELU = '''
@triton.jit
def gelu(x):
    """x times the normal distribution function."""
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
'''

SIGN = '''
@triton.jit
def sign(x):
    """-1, 0 or 1; x itself where it is 0 or NaN."""
    return tl.where(x > 0, 1, tl.where(x < 0, -1, x))
'''

ROUNDED = '''
@triton.jit
def rounded(x):
    """The nearest integer, ties to even."""
    low = tl.floor(x)
    part = x - low
    odd = low - 2 * tl.floor(low / 2)
    near = tl.where(part < 0.5, low, tl.where(part > 0.5, low + 1, low + odd))
    return tl.where(low == x, x, near)
'''

TAN = '''
@triton.jit
def tan(x):
    return tl.sin(x) / tl.cos(x)
'''

REMAINDER = '''
@triton.jit
def remainder(x, y):
    """x - y floor(x / y), with the sign of y; Triton's own remainder has that of x."""
    r = x % y
    return tl.where((r != 0) & ((r < 0) != (y < 0)), r + y, r)
'''

FLOOR_DIVIDE = '''
@triton.jit
def floor_divide(x, y):
    """x / y rounded down; what the remainder leaves is a whole number up to rounding."""
    return tl.floor((x - remainder(x, y)) / y + 0.5)
'''

FLOOR_DIVIDE_INT = '''
@triton.jit
def floor_divide_int(x, y):
    """x / y rounded down; Triton's own quotient of integers rounds towards 0."""
    q = x // y
    return tl.where((q * y != x) & ((x < 0) != (y < 0)), q - 1, q)
'''

POWER = '''
@triton.jit
def power(x, y):
    """x to the power y, for negative x where y is whole."""
    ones = (x == 1) | ((x == -1) & (y == y))
    size = tl.where(ones, 1.0, tl.exp(y * tl.log(tl.abs(x))))
    whole = tl.floor(y) == y
    odd = whole & (tl.floor(y / 2) * 2 != y)
    negative = (x < 0) | (1 / x < 0)  # -0.0 too
    signed = tl.where(negative & odd, -size, size)
    undefined = (x < 0) & (x - x == 0) & (y - y == 0) & ~whole
    return tl.where(y == 0, 1.0, tl.where(undefined, float("nan"), signed))
'''

POWER_INT = '''
@triton.jit
def power_int(x, n: tl.constexpr):
    """x to a small whole power."""
    y = x
    for _ in tl.static_range(n - 1):
        y = y * x
    return y
'''

ARRIVE = '''
@triton.jit
def arrive(counter):
    """Tell the other programs of the group that what this one has stored is there."""
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
'''

WAIT = '''
@triton.jit
def wait(counter, programs):
    """Wait until so many programs have arrived; what they stored before can then be read."""
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < programs:
        pass
'''

DEALT_2 = '''
@triton.jit
def dealt_2(x, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """Two blocks [ROWS, UNITS] from one whose columns are theirs in turn."""
    return tl.split(tl.reshape(x, [ROWS, UNITS, 2]))
'''

DEALT_4 = '''
@triton.jit
def dealt_4(x, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """Four blocks [ROWS, UNITS] from one whose columns are theirs in turn."""
    even, odd = tl.split(tl.reshape(x, [ROWS, UNITS, 2, 2]))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth
'''

NUMBER_FUNCTIONS: Mapping[str, str] = {
    "maximum": MAXIMUM,
    "minimum": MINIMUM,
    "multiply": MULTIPLY,
    "tanh": TANH,
    "expm1": EXPM1,
    "log1p": LOG1P,
    "softplus": SOFTPLUS,
    "logsigmoid": LOGSIGMOID,
    "logaddexp": LOGADDEXP,
    "silu": SILU,
    "gelu": GELU,
    "sign": SIGN,
    "rounded": ROUNDED,
    "tan": TAN,
    "remainder": REMAINDER,
    "floor_divide": FLOOR_DIVIDE,
    "floor_divide_int": FLOOR_DIVIDE_INT,
    "power": POWER,
    "power_int": POWER_INT,
}
"""Functions of numbers."""
GROUP_FUNCTIONS: Mapping[str, str] = {"arrive": ARRIVE, "wait": WAIT, "dealt_2": DEALT_2, "dealt_4": DEALT_4}
"""What programs need that run a loop together."""
KERNEL_FUNCTIONS: Mapping[str, str] = {**NUMBER_FUNCTIONS, **GROUP_FUNCTIONS}
