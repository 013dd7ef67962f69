"""Random cells: every operation on random operands, for tests of what must hold for any graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Input, Noise, Output, Param, Requirement, Size, State
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.fault import Fault
from lsrl.ir.ops import OPS, Family
from lsrl.ir.span import Source, Span
from lsrl.ir.value import Attr, Kind, Value, postorder

DIMS = (Dim.of("H"), Dim.of("D"), Dim.of(2), Dim.of("H") + 1, Dim.of("D") * 2 - Dim.of("H"), Dim.of("H") // 2)
CONSTANTS: tuple[Attr, ...] = (
    *(0, 1, -3, True, False, Fraction(0), Fraction(1), Fraction(-2, 3), Fraction(1, 2), "pi", 1.0, -0.0, 1e-30),
    *(float("inf"), float("-inf"), float("nan"), 2j, complex(-0.0, float("nan")), (1, 2), ((0.5,), (-1.5,))),
)

# Those that the language has literals for.
LITERALS: tuple[Attr, ...] = (
    *(0, 1, -3, True, False, Fraction(0), Fraction(1), Fraction(-2, 3), Fraction(1, 2), Fraction(1, 10**30), "pi"),
    *(float("inf"), float("-inf"), 2j, 1 - 1j, (1, 2), ((Fraction(1, 2),), (Fraction(-3, 7),))),
)


@dataclass
class Grower:
    """Grows a graph; operands are old values where the types fit, else new leaves."""

    random: Random
    values: list[Value] = field(default_factory=list)

    def shape(self, rank: int) -> Shape:
        return tuple(self.random.choice(DIMS) for _ in range(rank))

    def any_shape(self) -> Shape:
        return self.shape(self.random.randrange(3))

    def kind(self) -> Kind:
        return self.random.choice(list(Kind))

    def operand(self, shape: Shape, kind: Kind = Kind.FLOAT) -> Value:
        old = [v for v in self.values if v.shape == shape and v.kind is kind and not v.domain]
        if old and self.random.random() < 0.7:
            return self.random.choice(old)
        learned = kind in (Kind.FLOAT, Kind.COMPLEX)
        leaf = self.random.choice(("input", "param")) if learned else "input"
        return self.add(ops.leaf(leaf, f"{leaf[0]}{len(self.values)}", shape, kind))

    def add(self, value: Value) -> Value:
        self.values.append(value)
        return value

    def grow(self, op: str) -> Value:
        """A new value of the operation `op`."""
        maker = MAKERS.get(op, _elementwise)
        for _ in range(100):
            try:
                return self.add(maker(self, op))
            except Fault:
                continue  # kinds were drawn at random: these do not fit this operation
        raise AssertionError(f"no operands found for {op}")


def _elementwise(g: Grower, op: str) -> Value:
    shape, kind = g.any_shape(), g.kind()
    shapes = [shape if g.random.random() < 0.8 else () for _ in range(OPS[op].arity or 2)]
    return ops.apply(op, *(g.operand(s, kind) for s in shapes))


def _where(g: Grower, op: str) -> Value:
    shape, kind = g.any_shape(), g.kind()
    return ops.apply(op, g.operand(shape, Kind.BOOL), g.operand(shape, kind), g.operand(shape, kind))


def _einsum(g: Grower, op: str) -> Value:
    size = dict(zip("abc", g.shape(3), strict=True))
    spec = g.random.choice(("ab,b->a", "a,b->ab", "a,a->", "ab->ba", "ab,bc->ac", "a,ab,b->", "aa->a", "a,ab->ab"))
    operands = [tuple(size[letter] for letter in letters) for letters in spec.split("->")[0].split(",")]
    return ops.apply(op, *(g.operand(shape) for shape in operands), spec=spec)


def _transpose(g: Grower, op: str) -> Value:
    perm = list(range(3))
    g.random.shuffle(perm)
    return ops.apply(op, g.operand(g.shape(3)), perm=tuple(perm))


def _reshape(g: Grower, op: str) -> Value:
    a, b = g.shape(2)
    return ops.apply(op, g.operand((a, b)), shape=(a * b,))


def _expand(g: Grower, op: str) -> Value:
    shape = g.shape(3)
    axes = tuple(sorted(g.random.sample(range(3), g.random.randrange(1, 4))))
    return build.expand(g.operand(tuple(d for i, d in enumerate(shape) if i not in axes)), shape, axes)


def _slice(g: Grower, op: str) -> Value:
    x, axis = g.operand(g.shape(2), g.kind()), g.random.randrange(2)
    return ops.apply(op, x, axis=axis, start=Dim.of(1), size=x.shape[axis] // 2, step=2)


def _select(g: Grower, op: str) -> Value:
    x, axis = g.operand(g.shape(2), g.kind()), g.random.randrange(2)
    return ops.apply(op, x, axis=axis, index=x.shape[axis] - 1)


def _along(g: Grower, op: str) -> Value:
    return ops.apply(op, g.operand(g.shape(2)), axis=g.random.randrange(2))


def _reduce(g: Grower, op: str) -> Value:
    axes = tuple(sorted(g.random.sample(range(2), g.random.randrange(1, 3))))
    return ops.apply(op, g.operand(g.shape(2), g.kind()), axes=axes)


def _concat(g: Grower, op: str) -> Value:
    a, b, c = g.shape(3)
    return ops.apply(op, g.operand((a, b)), g.operand((a, c)), axis=1)


def _gather(g: Grower, op: str) -> Value:
    a, b, c = g.shape(3)
    return ops.apply(op, g.operand((a, b)), g.operand((c,), Kind.INT), axis=0, batch=0)


def _scatter(g: Grower, op: str) -> Value:
    a, b, c = g.shape(3)
    return ops.apply(op, g.operand((c, b)), g.operand((c,), Kind.INT), axis=0, batch=0, size=a)


def _solve(g: Grower, op: str) -> Value:
    """A matrix whose diagonal dominates."""
    a, b = g.shape(2)
    matrix = build.unary("tanh", g.operand((a, a)))
    return ops.apply(op, build.add(matrix, build.mul(8, build.eye(a))), g.operand((a, b)))


def _conv(g: Grower, op: str) -> Value:
    x, w = g.operand(_of("H", 8, 8)), g.operand(_of(4, "H", 3, 3))
    made = build.conv(x, w, stride=g.random.randrange(1, 3))
    if op == "conv":
        return made
    attrs = dict(made.attrs)
    if op == "conv_dx":
        return ops.apply(op, made, w, shape=x.shape, **attrs)
    return ops.apply(op, x, made, shape=w.shape, **attrs)


def _read(g: Grower, op: str) -> Value:
    return ops.apply(op, g.operand(g.any_shape()), via="edge.from")


def _incoming(g: Grower, op: str) -> Value:
    return ops.apply(op, g.operand(g.any_shape()), via=g.random.choice(("edge.to", "turn.out")))


def _cast(g: Grower, op: str) -> Value:
    kinds = g.kind(), g.kind()
    if kinds[0] is Kind.COMPLEX or kinds[0] is kinds[1]:
        raise Fault("", "the language has parts of complex numbers instead, and no casts to the same kind")
    return ops.apply(op, g.operand(g.any_shape(), kinds[0]), to=kinds[1].value)


def _of(*dims: int | str) -> Shape:
    return tuple(Dim.of(d) for d in dims)


MAKERS: dict[str, Callable[[Grower, str], Value]] = {
    "where": _where,
    "cast": _cast,
    "einsum": _einsum,
    "transpose": _transpose,
    "reshape": _reshape,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "concat": _concat,
    "gather": _gather,
    "scatter": _scatter,
    "solve": _solve,
    "read": _read,
    "sum_in": _incoming,
    "max_in": _incoming,
    **dict.fromkeys(("flip", "softmax"), _along),
    **dict.fromkeys((name for name, op in OPS.items() if op.attrs == ("axes",)), _reduce),
    **dict.fromkeys((name for name, op in OPS.items() if op.family is Family.STENCIL), _conv),
}


def random_cell(random: Random, operations: int = 20, constants: tuple[Attr, ...] = CONSTANTS) -> Cell:
    """A well-formed cell along time: random operations, states, names that clash, spans, declarations of each sort."""
    g = Grower(random)
    for constant in random.sample(constants, 3):
        g.add(ops.const(constant))
    carried = [g.add(ops.state(f"s{i}", "t", g.any_shape(), Kind.FLOAT)) for i in range(2)]
    eps = g.add(ops.leaf("noise", "eps", (DIMS[0],), Kind.FLOAT))
    g.add(ops.size(DIMS[3]))
    g.add(ops.iota(DIMS[4]))
    lines = [op for op in OPS if OPS[op].family is not Family.GRAPH]
    for _ in range(operations):
        g.grow(random.choice(lines))
    ends = random.sample(g.values, 4)
    states = [
        State(str(s.attr("name")), s.shape, s.kind, ("t",), build.zeros(s.shape), g.operand(s.shape)) for s in carried
    ]
    leaves = list(postorder([*g.values, *ends, *(s.next for s in states)]))
    return Cell(
        name="grown",
        doc='Random: "quoted" \\ and\nof two lines.',
        sizes=(Size("H"), Size("D", Dim.of("H") * 2 + 6)),
        axes=("t",),
        inputs=tuple(_input(v) for v in leaves if v.op == "input"),
        params=tuple(
            Param(str(v.attr("name")), v.shape, v.kind, Distribution("normal", (ops.const(Fraction(1, 50)),)))
            for v in leaves
            if v.op == "param"
        ),
        noises=(Noise("eps", eps.shape, Distribution("uniform", (ops.const(0), ops.const("pi")))),),
        states=tuple(states),
        outputs=tuple(Output(f"o{i}", value) for i, value in enumerate([*ends, eps])),
        requires=(Requirement(Dim.of("H") - 2, "H is at least 2", _span(3)), Requirement(Dim.of("D"), "no place")),
        names={v: random.choice(("a", "b", "gru.Wz", "h'", "x[t-1]", f"n{i}")) for i, v in enumerate(ends)},
        spans={v: (_span(i), _span(i + 1)) for i, v in enumerate(ends)},
    )


def _input(value: Value) -> Input:
    bound = Dim.of("H") if value.kind is Kind.INT else None
    return Input(str(value.attr("name")), value.shape, value.kind, bound)


def _span(line: int) -> Span:
    return Span(Source("grown program.lsrl", ""), line, 5, line + 1, 1)
