"""Programs in Python: the same graph as program text, built by operators on traced values.

    from lsrl import trace

    c = trace.cell("mingru", sizes=("D", "H"))
    x = c.input("x", "D")
    Wz, Wh = c.param("Wz", "H", "D"), c.param("Wh", "H", "D", init=trace.normal(0.02))
    h = c.state("h", "H", init=0)
    z = c.name("z", trace.sigmoid(Wz @ x))
    c.next(h, (1 - z) * h + z * (Wh @ x))
    c.output("h", h.next)
    print(trace.text(c))

For programs that are generated.  Functions here have the names and arguments of those of the language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from lsrl.elaborate.functions_arrays import as_kind
from lsrl.elaborate.places import OUT_OF, collected
from lsrl.ir import build, ops
from lsrl.ir.adjoint import gradient
from lsrl.ir.value import Kind
from lsrl.trace_cell import Draw, TracedCell, TracedState, cell, drawn
from lsrl.traced import Operand, SizeLike, Traced, TraceError, apply, attempt, made, size, term, value
from lsrl.unparse import unparse

__all__ = ["Draw", "TraceError", "Traced", "TracedCell", "TracedState", "cell", "text"]

Axes = int | Sequence[int] | None
pi = Traced(ops.const("pi"))
inf = Traced(ops.const(float("inf")))


def text(built: TracedCell) -> str:
    """The cell as program text."""
    return unparse(built.build())


def _unary(op: str) -> Callable[[Operand], Traced]:
    def function(x: Operand) -> Traced:
        return apply(op, x)

    function.__name__ = op
    function.__doc__ = f"{ops.OPS[op].doc}, element by element"
    return function


exp, log, sqrt, rsqrt = _unary("exp"), _unary("log"), _unary("sqrt"), _unary("rsqrt")
expm1, log1p, erf = _unary("expm1"), _unary("log1p"), _unary("erf")
sin, cos, tan, tanh = _unary("sin"), _unary("cos"), _unary("tan"), _unary("tanh")
sigmoid, softplus, logsigmoid = _unary("sigmoid"), _unary("softplus"), _unary("logsigmoid")
relu, silu, gelu = _unary("relu"), _unary("silu"), _unary("gelu")
sign, floor, ceil, round = _unary("sign"), _unary("floor"), _unary("ceil"), _unary("round")
cis, re, im, conj, arg = _unary("cis"), _unary("re"), _unary("im"), _unary("conj"), _unary("arg")
abs, stopgrad, not_ = _unary("abs"), _unary("stopgrad"), _unary("not")


def atan2(y: Operand, x: Operand) -> Traced:
    return apply("atan2", y, x)


def logaddexp(x: Operand, y: Operand) -> Traced:
    return apply("logaddexp", x, y)


def where(condition: Operand, x: Operand, y: Operand) -> Traced:
    return apply("where", condition, x, y)


def cast(x: Operand, kind: str) -> Traced:
    """Elements of another kind: `float`, `complex`, `int` or `bool`."""
    return made(lambda: as_kind(value(x), Kind(kind)))


def outer(x: Operand, y: Operand) -> Traced:
    return made(lambda: build.outer(value(x), value(y)))


def solve(matrix: Operand, right: Operand) -> Traced:
    """The x with `matrix @ x == right`, a vector or a matrix."""
    return made(lambda: build.solve(value(matrix), value(right)))


def inverse(matrix: Operand) -> Traced:
    return made(lambda: build.inverse(value(matrix)))


def dot(x: Operand, y: Operand) -> Traced:
    return made(lambda: build.dot(value(x), value(y)))


def diag(x: Operand) -> Traced:
    """The diagonal matrix of a vector, which products never write out."""
    return made(lambda: build.diag(value(x)))


def einsum(spec: str, *operands: Operand) -> Traced:
    return made(lambda: build.einsum(spec, *(value(operand) for operand in operands)))


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Traced:
    return made(lambda: build.transpose(term(x), axes))


def reshape(x: Operand, shape: Sequence[SizeLike]) -> Traced:
    return made(lambda: build.reshape(value(x), tuple(size(each) for each in shape)))


def expand(x: Operand, shape: Sequence[SizeLike], axis: int | Sequence[int]) -> Traced:
    """Repeated along new axes, whose places in `shape` are given."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return made(lambda: build.expand(value(x), tuple(size(each) for each in shape), axes))


def full(shape: Sequence[SizeLike], x: Operand) -> Traced:
    return made(lambda: build.full(tuple(size(each) for each in shape), value(x)))


def zeros(shape: Sequence[SizeLike]) -> Traced:
    return full(shape, 0.0)


def ones(shape: Sequence[SizeLike]) -> Traced:
    return full(shape, 1.0)


def eye(n: SizeLike) -> Traced:
    return made(lambda: build.eye(size(n)))


def iota(n: SizeLike) -> Traced:
    return made(lambda: ops.iota(size(n)))


def one_hot(i: Operand, n: SizeLike) -> Traced:
    return made(lambda: build.one_hot(value(i), size(n)))


def concat(*parts: Operand, axis: int = 0) -> Traced:
    return made(lambda: build.concat([value(part) for part in parts], axis))


def stack(*parts: Operand, axis: int = 0) -> Traced:
    return made(lambda: build.stack([value(part) for part in parts], axis))


def split(x: Operand, parts: int, axis: int = 0) -> tuple[Traced, ...]:
    """Equal parts of an axis."""
    return tuple(Traced(part) for part in attempt(lambda: build.split(value(x), parts, axis)))


def flip(x: Operand, axis: int = 0) -> Traced:
    return made(lambda: ops.apply("flip", value(x), axis=axis % value(x).rank))


def gather(table: Operand, index: Operand, axis: int = 0, batch: int = 0) -> Traced:
    return made(lambda: build.gather(value(table), value(index), axis, batch))


def scatter(update: Operand, index: Operand, n: SizeLike, axis: int = 0, batch: int = 0) -> Traced:
    """Zeros of size `n` with the updates added at their index, the adjoint of `gather`."""
    return made(lambda: ops.apply("scatter", value(update), value(index), axis=axis, batch=batch, size=size(n)))


def conv(
    x: Operand, w: Operand, stride: int = 1, dilation: int = 1, groups: int = 1, padding: str | int = "same"
) -> Traced:
    """Spatial correlation of x [C, *spatial] with w [O, C/groups, *kernel]."""
    return made(lambda: build.conv(value(x), value(w), stride, dilation, groups, padding))


def sum(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("reduce_sum", x, axis)


def prod(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("reduce_prod", x, axis)


def max(*operands: Operand, axis: Axes = None) -> Traced:
    """The largest over axes of one operand, or of several, element by element."""
    return _extreme("max", operands, axis)


def min(*operands: Operand, axis: Axes = None) -> Traced:
    """The smallest over axes of one operand, or of several, element by element."""
    return _extreme("min", operands, axis)


def any(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("reduce_any", x, axis)


def all(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("reduce_all", x, axis)


def argmax(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("argmax", x, axis)


def argmin(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("argmin", x, axis)


def logsumexp(x: Operand, axis: Axes = None) -> Traced:
    return _reduced("logsumexp", x, axis)


def mean(x: Operand, axis: Axes = None) -> Traced:
    return made(lambda: build.mean(value(x), _axes(axis)))


def softmax(x: Operand, axis: int = -1) -> Traced:
    return made(lambda: build.softmax(value(x), axis))


def grad(loss: Operand, wrt: Operand) -> Traced:
    """The gradient of a scalar by a value it is computed from."""
    return made(lambda: gradient(value(loss), [value(wrt)])[0])


def read(x: Operand, via: str) -> Traced:
    """A node's value at each edge (`edge.from`, `edge.to`) or turn (`turn.node`), an edge's at each `turn.in`."""
    return made(lambda: ops.apply("read", value(x), via=via))


def sum_in(x: Operand) -> Traced:
    """The sum over the edges into a node, or the turns into an edge; what belongs to a node is `read` there first."""
    return made(lambda: collected("sum_in", value(x)))


def max_in(x: Operand) -> Traced:
    """The largest over the edges into a node, or the turns into an edge."""
    return made(lambda: collected("max_in", value(x)))


def sum_out(x: Operand) -> Traced:
    """The sum over the edges out of a node, or the turns out of an edge; of given values, not of states."""
    return made(lambda: collected("sum_in", value(x), OUT_OF))


def max_out(x: Operand) -> Traced:
    """The largest over the edges out of a node, or the turns out of an edge."""
    return made(lambda: collected("max_in", value(x), OUT_OF))


def uniform(*bounds: Operand) -> Draw:
    """`uniform(a)` from -a to a, or `uniform(low, high)`."""
    return drawn("uniform", *bounds)


def normal(*parameters: Operand) -> Draw:
    """`normal()`, `normal(std)` or `normal(mean, std)`."""
    return drawn("normal", *parameters)


def bernoulli(probability: Operand) -> Draw:
    return drawn("bernoulli", probability)


def log_uniform(low: Operand, high: Operand) -> Draw:
    return drawn("log_uniform", low, high)


def glorot() -> Draw:
    return drawn("glorot")


def orthogonal(*gain: Operand) -> Draw:
    return drawn("orthogonal", *gain)


def identity(*scale: Operand) -> Draw:
    """Starting as (a multiple of) the identity matrix: `eye` of the language."""
    return drawn("eye", *scale)


def _reduced(op: str, x: Operand, axis: Axes) -> Traced:
    return made(lambda: build.reduce(op, value(x), _axes(axis)))


def _extreme(name: str, operands: Sequence[Operand], axis: Axes) -> Traced:
    if len(operands) == 1:
        return _reduced(f"reduce_{name}", operands[0], axis)
    if axis is not None or not operands:
        raise TraceError(f"{name} of several values goes element by element, without axis")
    return reduce(lambda x, y: apply(name, x, y), operands[1:], made(lambda: value(operands[0])))


def _axes(axis: Axes) -> Sequence[int] | None:
    return (axis,) if isinstance(axis, int) else axis
