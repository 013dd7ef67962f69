"""The functions of the language that are operations of the graph; those made of others are in `std/prelude.lsrl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import places
from lsrl.elaborate.arguments import Arguments, Builtin
from lsrl.elaborate.body import FOLDING
from lsrl.elaborate.functions_arrays import ARRAYS
from lsrl.elaborate.functions_graph import GRAPH_FUNCTIONS
from lsrl.elaborate.report import Misplaced
from lsrl.elaborate.terms import Several, Term
from lsrl.elaborate.windows import WINDOWS
from lsrl.ir import build, ops
from lsrl.ir.adjoint import gradient
from lsrl.ir.cell import GRAPH
from lsrl.ir.fault import Fault
from lsrl.ir.rewrite import rewritten
from lsrl.ir.value import Value

UNARY = (
    *("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "tanh", "erf"),
    *("sigmoid", "softplus", "logsigmoid", "relu", "silu", "gelu"),
    *("abs", "sign", "floor", "ceil", "round", "cis", "re", "im", "conj", "arg", "stopgrad"),
)
BINARY = ("atan2", "logaddexp", "xor")
REDUCTIONS = {
    "sum": "reduce_sum",
    "prod": "reduce_prod",
    "any": "reduce_any",
    "all": "reduce_all",
    "argmax": "argmax",
    "argmin": "argmin",
    "logsumexp": "logsumexp",
}


def _unary(name: str) -> Builtin:
    return Builtin(name, ("x",), lambda a: build.unary(name, a.value("x")))


def _binary(name: str) -> Builtin:
    return Builtin(name, ("x", "y"), lambda a: ops.apply(name, *a.values("x", "y")))


def _reduction(name: str, build_it: Callable[[Value, tuple[int, ...] | None], Value]) -> Builtin:
    def reduced(a: Arguments) -> Term:
        x = a.value("x")
        return build_it(x, a.axes("axis", x))

    return Builtin(name, ("x", "axis="), reduced)


def _reduced(op: str) -> Callable[[Value, tuple[int, ...] | None], Value]:
    return lambda x, axes: build.reduce(op, x, axes)


def _extreme(name: str) -> Builtin:
    """`max(a, b)` element by element; `max(x)` and `max(x, axis=0)` over axes."""

    def extreme(a: Arguments) -> Term:
        operands = a.others()
        if len(operands) == 1:
            return build.reduce(f"reduce_{name}", operands[0], a.axes("axis", operands[0]))
        if a.has("axis"):
            raise Misplaced(
                code.WRONG_USE, f"`{name}` of several values goes element by element", span=a.given["axis"].span
            )
        result = operands[0]
        for operand in operands[1:]:
            result = ops.apply(name, result, operand)
        return result

    return Builtin(name, ("*x", "axis="), extreme)


def _variance(x: Value, axes: tuple[int, ...] | None) -> Value:
    gone = tuple(range(x.rank)) if axes is None else axes
    centre = build.expand(build.mean(x, gone), x.shape, gone)
    apart = build.unary("abs", build.sub(x, centre))
    return build.mean(build.mul(apart, apart), gone)


def _norm(x: Value, axes: tuple[int, ...] | None) -> Value:
    size = build.unary("abs", x)
    return build.unary("sqrt", build.reduce("reduce_sum", build.mul(size, size), axes))


def _softmax(a: Arguments) -> Term:
    x = a.value("x")
    return build.softmax(x, a.axis("axis", x, -1))


def _where(a: Arguments) -> Term:
    return ops.apply("where", *a.values("condition", "x", "y"))


def _outer(a: Arguments) -> Term:
    return build.outer(*a.values("x", "y"))


def _dot(a: Arguments) -> Term:
    return build.dot(*a.values("x", "y"))


def _solve(a: Arguments) -> Term:
    return build.solve(*a.values("A", "b"))


def _inverse(a: Arguments) -> Term:
    return build.inverse(a.value("A"))


def _einsum(a: Arguments) -> Term:
    spec = a.env.text(a.rest[0])
    return build.einsum(spec, *replace(a, rest=a.rest[1:]).others())


def _conv(a: Arguments) -> Term:
    x, w = a.values("x", "w")
    stride, dilation, groups = (a.number(name, 1) for name in ("stride", "dilation", "groups"))
    for name, number in (("stride", stride), ("dilation", dilation), ("groups", groups)):
        if number < 1:
            raise Misplaced(code.WRONG_USE, f"`{name}` is at least 1", str(number), span=a.given[name].span)
    match a.given.get("padding"):
        case None:
            padding: str | int = "same"
        case syntax.Str(text):
            padding = text
        case _:
            padding = a.number("padding", 0)
    if padding == "same":
        w = _with_known_taps(a, w)
    return build.conv(x, w, stride, dilation, groups, padding)


def _with_known_taps(a: Arguments, w: Value) -> Value:
    """The kernel with numbers for its spatial sizes, on which "same" padding depends."""
    for axis in range(2, w.rank):
        taps = a.env.body.pin(w.shape[axis], "a convolution", a.span)
        w = build.slice_(w, 0, taps, axis)
    return w


def _grad(a: Arguments) -> Term:
    """`grad(loss, W)`, or `grad(loss, [W, b])` for several at once."""
    loss, wrt = a.value("loss"), a.given["wrt"]
    if isinstance(wrt, syntax.Array):
        return Several(_gradient(loss, [a.env.value(item) for item in wrt.items]))
    return _gradient(loss, [a.env.value(wrt)])[0]


def _gradient(loss: Value, wrt: Sequence[Value]) -> tuple[Value, ...]:
    """With its constants folded, like those that the text writes out."""
    found = gradient(loss, wrt)
    done = rewritten(found, FOLDING)
    return tuple(done[value] for value in found)


def _collected(name: str, op: str, ends: tuple[str, str]) -> Builtin:
    def collected(a: Arguments) -> Term:
        if GRAPH not in a.env.body.axes:
            raise Fault(
                code.NOT_HERE, f"`{name}` collects the edges of a graph", remedy="the cell must be `over graph`"
            )
        inside = replace(a.env, collecting=ends == places.INTO)
        return places.collected(op, inside.value(a.given["x"]), ends)

    return Builtin(name, ("x",), collected)


_ALL = (
    *(_unary(name) for name in UNARY),
    *(_binary(name) for name in BINARY),
    *(_reduction(name, _reduced(op)) for name, op in REDUCTIONS.items()),
    _reduction("mean", build.mean),
    _reduction("var", _variance),
    _reduction("norm", _norm),
    _extreme("max"),
    _extreme("min"),
    Builtin("softmax", ("x", "axis="), _softmax),
    Builtin("where", ("condition", "x", "y"), _where),
    Builtin("outer", ("x", "y"), _outer),
    Builtin("dot", ("x", "y"), _dot),
    Builtin("solve", ("A", "b"), _solve),
    Builtin("inverse", ("A",), _inverse),
    Builtin("einsum", ("*spec_and_operands",), _einsum),
    Builtin("conv", ("x", "w", "stride=", "dilation=", "groups=", "padding="), _conv),
    Builtin("grad", ("loss", "wrt"), _grad),
    _collected("sum_in", "sum_in", places.INTO),
    _collected("max_in", "max_in", places.INTO),
    _collected("sum_out", "sum_in", places.OUT_OF),
    _collected("max_out", "max_in", places.OUT_OF),
    *ARRAYS,
    *WINDOWS,
    *GRAPH_FUNCTIONS,
)

FUNCTIONS: Mapping[str, Builtin] = {builtin.name: builtin for builtin in _ALL}
