"""Steps that compose, as Triton computes them: the function that makes one step of two, and what a step does.

A step takes states `h` to `A h + b` with the sum and product of its algebra.  A program composes the steps of a tile
by `tl.associative_scan` with the function, and the step of everything before applied to the states at the tile's start
gives the states at each position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from lsrl.backends.expressions import Code, call, infix

AFFINE = '''
@triton.jit
def affine(a, b, c, d):
    """The step h -> a h + b, and then h -> c h + d, as one."""
    return a * c, b * c + d
'''

AFFINE_COMPLEX = '''
@triton.jit
def affine_complex(a, ai, b, bi, c, ci, d, di):
    """The step h -> a h + b, and then h -> c h + d, as one; of complex numbers by their parts."""
    return a * c - ai * ci, a * ci + ai * c, b * c - bi * ci + d, b * ci + bi * c + di
'''

MAX_PLUS = '''
@triton.jit
def max_plus(a, b, c, d):
    """The step h -> max(h + a, b), and then h -> max(h + c, d), as one."""
    return a + c, maximum(b + c, d)
'''

MIN_PLUS = '''
@triton.jit
def min_plus(a, b, c, d):
    """The step h -> min(h + a, b), and then h -> min(h + c, d), as one."""
    return a + c, minimum(b + c, d)
'''

LOG_PLUS = '''
@triton.jit
def log_plus(a, b, c, d):
    """The step h -> log(exp(h + a) + exp(b)), and then the same with c and d, as one."""
    return a + c, logaddexp(b + c, d)
'''

NEIGHBOURS = '''
@triton.jit
def neighbours(previous, last, alone, previous_2, last_2, alone_2):
    """The last two of a row of numbers, from those of its two parts; `alone`: a part is a single number."""
    return tl.where(alone_2, last, previous_2), last_2, alone & False
'''

ONE_BEFORE = '''
@triton.jit
def one_before(x):
    """What stands one row before, along the first axis; the first row is meaningless."""
    alone = tl.full(x.shape, 1, tl.int1)
    before, _, _ = tl.associative_scan((x, x, alone), 0, neighbours)
    return before
'''

PIECES_OF_TIME = '''
def pieces_of_time(length, tile, programs, device):
    """Into how many pieces a scan cuts time, and the positions of one.

    Sequences and lanes make `programs`; pieces multiply them until every processor of a GPU has eight.  A piece has at
    least four tiles, for cutting reads everything twice.
    """
    tiles, wanted = triton.cdiv(length, tile), 8 * processors(device) // programs
    piece = max(4, triton.cdiv(tiles, max(1, wanted))) * tile
    return max(1, triton.cdiv(length, piece)), piece
'''

PROCESSORS = '''
@functools.cache
def processors(device):
    """The streaming multiprocessors of a GPU; an interpreter has one."""
    return 1 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count
'''


@dataclass(frozen=True, slots=True)
class Algebra:
    """How steps of some states compose.

    A step is its coefficients in a row: the matrix row by row (of a complex number its two parts), then the rests.

    Attributes:
        function: the name of the function of two steps.
        states: how many real states it moves.
        identity: the coefficients of the step that changes nothing.
        join: what adds up: "add", "max", "min" or "logaddexp".
        pairs: the two states are the parts of a complex one.
    """

    function: str
    states: int
    identity: tuple[str, ...]
    join: str
    pairs: bool = False

    @property
    def coefficients(self) -> tuple[str, ...]:
        """A letter or two for each: `a`, `b`; of parts `a_re`, `a_im`; of matrices `a_01`."""
        if self.pairs:
            return ("a_re", "a_im", "b_re", "b_im")
        if self.states == 1:
            return ("a", "b")
        rows = range(self.states)
        return (*(f"a_{i}{j}" for i, j in product(rows, repeat=2)), *(f"b_{i}" for i in rows))

    def applied(self, step: Sequence[Code], starts: Sequence[Code]) -> tuple[Code, ...]:
        """The states that a step makes of those at its start."""
        if self.join != "add":
            return (_joined(self.join, infix("+", step[0], starts[0]), step[1]),)
        if self.pairs:
            (a, ai, b, bi), (h, hi) = step, starts
            real = infix("-", infix("*", a, h), infix("*", ai, hi))
            imaginary = infix("+", infix("*", a, hi), infix("*", ai, h))
            return infix("+", real, b), infix("+", imaginary, bi)
        n = self.states
        return tuple(_row(step[i * n : i * n + n], starts, step[n * n + i]) for i in range(n))


def _row(row: Sequence[Code], starts: Sequence[Code], rest: Code) -> Code:
    total = infix("*", row[0], starts[0])
    for a, h in zip(row[1:], starts[1:], strict=True):
        total = infix("+", total, infix("*", a, h))
    return infix("+", total, rest)


def _joined(join: str, left: Code, right: Code) -> Code:
    return call({"max": "maximum", "min": "minimum"}.get(join, join), left, right)


SEMIRINGS: Mapping[str, Algebra] = {
    "max": Algebra("max_plus", 1, ("0.0", 'float("-inf")'), "max"),
    "min": Algebra("min_plus", 1, ("0.0", 'float("inf")'), "min"),
    "logaddexp": Algebra("log_plus", 1, ("0.0", 'float("-inf")'), "logaddexp"),
}
COMPLEX = Algebra("affine_complex", 2, ("1.0", "0.0", "0.0", "0.0"), "add", pairs=True)
MOST_STATES = 4


def affine(states: int) -> Algebra:
    """Of a few real states that a small matrix moves."""
    ones = tuple("1.0" if i == j else "0.0" for i, j in product(range(states), repeat=2))
    name = "affine" if states == 1 else f"affine_{states}"
    return Algebra(name, states, (*ones, *("0.0",) * states), "add")


def _affine_text(n: int) -> str:
    """The function of two steps of n states: `a` is the first matrix, `c` the second."""
    places = list(product(range(n), repeat=2))
    rows = [", ".join(f"{x}{i}{j}" for i, j in places) for x in "ac"]
    rests = [", ".join(f"{x}{i}" for i in range(n)) for x in "bd"]
    matrix = [" + ".join(f"c{i}{k} * a{k}{j}" for k in range(n)) for i, j in places]
    rest = [" + ".join([*(f"c{i}{k} * b{k}" for k in range(n)), f"d{i}"]) for i in range(n)]
    results = "\n".join(f"        {each}," for each in (*matrix, *rest))
    return f'''
@triton.jit
def affine_{n}(
    {rows[0]}, {rests[0]},
    {rows[1]}, {rests[1]},
):  # fmt: skip
    """The step h -> a h + b, and then h -> c h + d, as one: products of matrices of {n} x {n}."""
    return (
{results}
    )
'''


SCAN_FUNCTIONS: Mapping[str, str] = {
    "affine": AFFINE,
    "affine_complex": AFFINE_COMPLEX,
    **{f"affine_{n}": _affine_text(n) for n in range(2, MOST_STATES + 1)},
    "max_plus": MAX_PLUS,
    "min_plus": MIN_PLUS,
    "log_plus": LOG_PLUS,
    "neighbours": NEIGHBOURS,
    "one_before": ONE_BEFORE,
    "processors": PROCESSORS,
    "pieces_of_time": PIECES_OF_TIME,
}
