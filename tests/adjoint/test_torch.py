"""Every operation, its value and its adjoint, against PyTorch in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.topology import make_topology
from lsrl.ir import ops
from lsrl.ir.adjoint import FLAT, RULES, cotangents
from lsrl.ir.dims import Dim
from lsrl.ir.value import Attr, Domain, Kind, Value

KINDS = {"f": Kind.FLOAT, "c": Kind.COMPLEX, "i": Kind.INT, "b": Kind.BOOL}
EDGES = np.array([(0, 2), (1, 2), (2, 3), (0, 3), (1, 4)])
TURNS = np.array([(0, 2), (1, 2)])
TOPOLOGY = make_topology(5, EDGES, TURNS)
COUNTS = {Domain.NONE: (), Domain.NODE: (5,), Domain.EDGE: (5,), Domain.TURN: (2,)}


@dataclass(frozen=True)
class Case:
    """An operation on operands of some shapes and kinds, and PyTorch's function of the same operands.

    `kinds` has one letter per operand; `low` and `high` bound the real numbers drawn.
    """

    op: str
    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    kinds: str
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0
    domain: Domain = Domain.NONE

    def __str__(self) -> str:
        return f"{self.op}-{self.kinds}-{'-'.join('x'.join(map(str, s)) or '1' for s in self.shapes)}"


def unary(op: str, function: Callable[..., Any], kinds: str = "f", low: float = -2.0, high: float = 2.0) -> list[Case]:
    return [Case(op, function, (shape,), kind, {}, low, high) for kind in kinds for shape in ((), (3, 4))]


def binary(op: str, function: Callable[..., Any], kinds: Sequence[str] = ("ff",), low: float = -2.0) -> list[Case]:
    shapes = (((), ()), ((3, 4), (3, 4)), ((3, 4), ()), ((), (3, 4)))
    return [Case(op, function, shape, kind, {}, low) for kind in kinds for shape in shapes]


def over(op: str, function: Callable[..., Any], kinds: str = "f") -> list[Case]:
    """A reduction of [2, 3, 4] over some axes."""
    return [Case(op, lambda x, a=a: function(x, a), ((2, 3, 4),), k, {"axes": a}) for k in kinds for a in AXES]


AXES = ((0,), (1,), (2,), (0, 2), (0, 1, 2))
MIXED = ("ff", "cc", "fc", "cf", "fi", "if")


def dims(*sizes: int) -> tuple[Dim, ...]:
    return tuple(Dim.of(size) for size in sizes)


def flat_prod(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis)
    return x


def einsum(spec: str, *shapes: tuple[int, ...], kinds: str | None = None) -> Case:
    letters = kinds or "f" * len(shapes)
    one = torch.tensor(1.0 + 0j if "c" in letters else 1.0, dtype=torch.complex128 if "c" in letters else torch.float64)
    return Case("einsum", lambda *xs: torch.einsum(spec, *(x * one for x in xs)), shapes, letters, {"spec": spec})


def solve(matrix: tuple[int, ...], right: tuple[int, ...], kinds: str = "ff") -> Case:
    alike = torch.complex128 if "c" in kinds else torch.float64
    return Case("solve", lambda a, b: torch.linalg.solve(a.to(alike), b.to(alike)), (matrix, right), kinds)


def conv(stride: int, dilation: int, groups: int, padding: tuple[int, int], kinds: str = "ff") -> list[Case]:
    attrs: dict[str, Attr] = {"stride": (stride,), "dilation": (dilation,), "groups": groups, "padding": padding}

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return F.conv1d(F.pad(x, padding)[None], w, None, stride, 0, dilation, groups)[0]

    x, w = torch.zeros(4, 9), torch.zeros(6, 4 // groups, 3)
    out = tuple(forward(x, w).shape)

    def to_input(g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = torch.zeros(4, 9, dtype=w.dtype, requires_grad=True)
        return torch.autograd.grad(forward(x, w), x, g, create_graph=True)[0]

    def to_kernel(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        w = torch.zeros(6, 4 // groups, 3, dtype=x.dtype, requires_grad=True)
        return torch.autograd.grad(forward(x, w), w, g, create_graph=True)[0]

    return [
        Case("conv", forward, (tuple(x.shape), tuple(w.shape)), kinds, attrs),
        Case("conv_dx", to_input, (out, tuple(w.shape)), "ff", {**attrs, "shape": dims(4, 9)}),
        Case("conv_dw", to_kernel, (tuple(x.shape), out), "ff", {**attrs, "shape": dims(6, 4 // groups, 3)}),
    ]


def plane() -> Case:
    """Two spatial axes with unequal strides and padding."""
    attrs: dict[str, Attr] = {"stride": (2, 1), "dilation": (1, 2), "groups": 1, "padding": (1, 0, 2, 2)}

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (2, 2, 1, 0))[None], w, None, (2, 1), 0, (1, 2))[0]

    return Case("conv", forward, ((2, 5, 6), (3, 2, 2, 3)), "ff", attrs)


def gather(table: tuple[int, ...], index: tuple[int, ...], axis: int, batch: int) -> list[Case]:
    """Batch axes are taken one by one, so that the function is plain indexing."""

    def rows(x: torch.Tensor, i: torch.Tensor, axis: int, batch: int) -> torch.Tensor:
        if batch:
            return torch.stack([rows(each, j, axis - 1, batch - 1) for each, j in zip(x, i)])
        return torch.movedim(torch.movedim(x, axis, 0)[i], tuple(range(i.ndim)), tuple(range(axis, axis + i.ndim)))

    found = table[:axis] + index[batch:] + table[axis + 1 :]

    def added(u: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        x = torch.zeros(table, dtype=u.dtype, requires_grad=True)
        return torch.autograd.grad(rows(x, i, axis, batch), x, u, create_graph=True)[0]

    return [
        Case("gather", lambda x, i: rows(x, i, axis, batch), (table, index), "fi", {"axis": axis, "batch": batch}),
        Case("scatter", added, (found, index), "fi", {"axis": axis, "batch": batch, "size": Dim.of(table[axis])}),
    ]


def collected(reduce: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """sum or max over the edges into each node, with torch's scatter; nodes without any keep the unit."""

    def function(x: torch.Tensor) -> torch.Tensor:
        unit = 0.0 if reduce == "sum" else -np.inf
        places = torch.tensor(EDGES[:, 1]).reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)
        return torch.full_like(x, unit).scatter_reduce(0, places, x, reduce)

    return function


def between() -> list[Case]:
    turn_in, edge_from = torch.tensor(TURNS[:, 0]), torch.tensor(EDGES[:, 0])
    return [
        Case("read", lambda x: x[edge_from], ((3,),), "f", {"via": "edge.from"}, domain=Domain.NODE),
        Case("read", lambda x: x[turn_in], ((),), "c", {"via": "turn.in"}, domain=Domain.EDGE),
        Case("sum_in", collected("sum"), ((3,),), "f", {"via": "edge.to"}, domain=Domain.EDGE),
        Case("sum_in", lambda x: x.sum(0), ((3,),), "f", {"via": "edge"}, domain=Domain.EDGE),
        Case("max_in", collected("amax"), ((3,),), "f", {"via": "edge.to"}, domain=Domain.EDGE),
    ]


def _layout() -> list[Case]:
    row: dict[str, Attr] = {"axis": 1, "start": Dim.of(1), "size": Dim.of(2)}
    return [
        *(Case("transpose", lambda x: x.permute(2, 0, 1), ((2, 3, 4),), k, {"perm": (2, 0, 1)}) for k in "fc"),
        Case("reshape", lambda x: x.reshape(4, 6), ((2, 3, 4),), "f", {"shape": dims(4, 6)}),
        Case("expand", lambda x: x.expand(2, 3), ((),), "f", {"axes": (0, 1), "shape": dims(2, 3)}),
        Case("expand", lambda x: x[:, None].expand(2, 5, 3), ((2, 3),), "f", {"axes": (1,), "shape": dims(2, 5, 3)}),
        Case("slice", lambda x: x[:, 1:3], ((2, 4, 3),), "f", {**row, "step": 1}),
        Case("slice", lambda x: x[:, 1:5:2], ((2, 6, 3),), "f", {**row, "step": 2}),
        Case("slice", lambda x: x[:, 1:3], ((2, 3, 3),), "c", {**row, "step": 1}),
        Case("select", lambda x: x[:, 2], ((2, 4, 3),), "f", {"axis": 1, "index": Dim.of(2)}),
        Case("select", lambda x: x[0], ((4,),), "f", {"axis": 0, "index": Dim.of(0)}),
        Case("flip", lambda x: x.flip(1), ((2, 4),), "f", {"axis": 1}),
        Case("concat", lambda *xs: torch.cat(xs, 1), ((2, 4), (2, 1), (2, 3)), "fff", {"axis": 1}),
        Case("concat", lambda *xs: torch.cat(xs, 0), ((2,), (3,)), "fc", {"axis": 0}),
        *gather((5, 3), (2, 4), 0, 0),
        *gather((3, 5, 2), (4,), 1, 0),
        *gather((2, 3, 5, 2), (2, 4), 2, 1),
        *gather((2, 3, 5), (2, 3), 2, 2),
    ]


CASES = [
    *unary("neg", torch.neg, "fci"),
    *unary("exp", torch.exp, "fc"),
    *unary("log", torch.log, "f", low=0.1),
    *unary("log", torch.log, "c"),
    *unary("sqrt", torch.sqrt, "f", low=0.1),
    *unary("sqrt", torch.sqrt, "c"),
    *unary("sign", torch.sign),
    *unary("floor", torch.floor),
    *unary("ceil", torch.ceil),
    *unary("round", torch.round),
    *unary("relu", torch.relu),
    *unary("expm1", torch.expm1),
    *unary("log1p", torch.log1p, low=-0.9),
    *unary("rsqrt", torch.rsqrt, low=0.1),
    *unary("sin", torch.sin),
    *unary("cos", torch.cos),
    *unary("tan", torch.tan, low=-1.4, high=1.4),
    *unary("tanh", torch.tanh, low=-20, high=20),
    *unary("sigmoid", torch.sigmoid, low=-40, high=40),
    *unary("softplus", F.softplus, high=15),
    *unary("logsigmoid", F.logsigmoid, low=-40, high=40),
    *unary("silu", F.silu, low=-10, high=10),
    *unary("gelu", F.gelu, low=-6, high=6),
    *unary("erf", torch.erf),
    *unary("cis", lambda x: torch.exp(1j * x)),
    *unary("re", lambda z: z.real.clone(), "fc"),
    *unary("im", lambda z: z.imag.clone(), "c"),
    *unary("arg", torch.angle, "c"),
    *unary("conj", lambda z: z.conj().resolve_conj(), "fc"),
    *unary("abs", torch.abs, "fci"),
    *unary("stopgrad", lambda x: x.detach(), "fc"),
    *binary("add", torch.add, MIXED),
    *binary("add", lambda x, y: x.long() + y.long(), ("bb",)),
    *binary("mul", torch.mul, MIXED),
    *binary("sub", torch.sub, MIXED),
    *binary("div", torch.div, MIXED, low=0.5),
    *binary("div", torch.div, ("cc",)),
    *binary("pow", torch.pow, ("ff", "fi", "cc", "fc", "cf"), low=0.5),
    *binary("mod", torch.remainder, ("ff", "ii"), low=0.7),
    *binary("floordiv", lambda x, y: torch.floor(x / y).to(x.dtype), ("ff", "ii"), low=0.7),
    *binary("max", torch.maximum),
    *binary("min", torch.minimum),
    *binary("logaddexp", torch.logaddexp),
    *binary("atan2", torch.atan2),
    *(c for op in ("lt", "le", "gt", "ge", "eq", "ne") for c in binary(op, getattr(torch, op), ("ff", "ii", "if"))),
    *(case for op in ("and", "or", "xor") for case in binary(op, getattr(torch, f"logical_{op}"), ("bb",))),
    *unary("not", torch.logical_not, "b"),
    *(Case("where", torch.where, s, k) for k in ("bff", "bcc") for s in (((3, 4),) * 3, ((3,), (), (3,)))),
    Case("where", lambda c, x, y: torch.where(c, x, y + 0j), ((3,), (), (3,)), "bcf"),
    Case("where", torch.where, ((), (3,), (3,)), "bff"),
    *(Case("cast", lambda x: x.cfloat().cdouble(), ((2,),), k, {"to": "complex"}) for k in "i"),
    Case("cast", lambda x: x + 0j, ((2,),), "f", {"to": "complex"}),
    Case("cast", lambda z: z.real.clone(), ((2,),), "c", {"to": "float"}),
    Case("cast", lambda x: x.long(), ((5,),), "f", {"to": "int"}),
    Case("cast", lambda x: x != 0, ((5,),), "i", {"to": "bool"}),
    einsum("ab,b->a", (3, 4), (4,)),
    einsum("ab,b->a", (3, 4), (4,), kinds="fc"),
    einsum("ab,b->a", (3, 4), (4,), kinds="cc"),
    einsum("ab,bc->ac", (3, 4), (4, 2)),
    einsum("a,b->ab", (3,), (4,)),
    einsum("a,a->", (3,), (3,)),
    einsum("a,ab,b->", (3,), (3, 4), (4,)),
    einsum("ab->", (3, 4)),
    einsum("ab->a", (3, 4)),
    einsum("ab->ba", (3, 4)),
    einsum("ab,c->ac", (3, 4), (2,)),
    einsum("aa->a", (3, 3)),
    einsum("aab->b", (3, 3, 2)),
    einsum("aba,b->", (3, 2, 3), (2,)),
    *_layout(),
    *over("reduce_sum", torch.sum, "fci"),
    *over("reduce_prod", flat_prod, "fc"),
    *over("reduce_max", torch.amax),
    *over("reduce_min", torch.amin),
    *over("reduce_any", lambda x, a: torch.any(x, a), "b"),
    *over("reduce_all", lambda x, a: torch.all(x, a), "b"),
    *over("logsumexp", torch.logsumexp),
    *(Case("argmax", lambda x: x.argmax(1), ((3, 4),), k, {"axes": (1,)}) for k in "fi"),
    Case("argmax", lambda x: x.flatten().argmax(), ((3, 4),), "f", {"axes": (0, 1)}),
    Case("argmin", lambda x: x.argmin(0), ((3, 4),), "f", {"axes": (0,)}),
    *(Case("softmax", lambda x, a=a: torch.softmax(x, a), ((3, 4),), "f", {"axis": a}) for a in (0, 1)),
    *conv(1, 1, 1, (1, 1)),
    *conv(2, 2, 2, (2, 1)),
    Case("conv", lambda x, w: F.conv1d(x[None], w)[0], ((2, 5), (3, 2, 2)), "cc", dict(conv(1, 1, 1, (0, 0))[0].attrs)),
    plane(),
    *(solve((3, 3), (3, 2), kinds) for kinds in ("ff", "cc", "cf", "fc")),
    solve((2, 3, 3), (2, 3, 4)),
    *between(),
]


def drawn(case: Case, seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)

    def array(shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
        full = (*COUNTS[case.domain], *shape)
        real = rng.uniform(case.low, case.high, full)
        match kind:
            case "c":
                return np.asarray(real + 1j * rng.uniform(-2, 2, full))
            case "i":
                return rng.integers(max(0, round(case.low)), 3, full)
            case "b":
                return np.asarray(rng.random(full) < 0.5)
            case _:
                return np.asarray(real)

    return [array(shape, kind) for shape, kind in zip(case.shapes, case.kinds)]


def built(case: Case) -> tuple[Value, list[Value]]:
    leaves = [
        ops.leaf("input", f"x{number}", dims(*shape), KINDS[kind], case.domain)
        for number, (shape, kind) in enumerate(zip(case.shapes, case.kinds))
    ]
    return ops.apply(case.op, *leaves, **case.attrs), leaves


def test_every_operation_has_a_case_and_an_adjoint() -> None:
    assert {case.op for case in CASES} == set(ops.OPS)
    assert set(RULES) | FLAT == set(ops.OPS)
    assert set(RULES) & FLAT == set()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case) -> None:
    value, leaves = built(case)
    arrays = drawn(case, 0)
    found = evaluate([value], dict(zip(leaves, arrays)), Scope({}, topology=TOPOLOGY))[0]
    expected = case.function(*(torch.tensor(array) for array in arrays)).detach().numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def differentiable(case: Case) -> bool:
    return bool(set(case.kinds) & set("fc")) and built(case)[0].kind in (Kind.FLOAT, Kind.COMPLEX)


@pytest.mark.parametrize("case", [case for case in CASES if differentiable(case)], ids=str)
def test_adjoints(case: Case) -> None:
    value, leaves = built(case)
    arrays = drawn(case, 1)
    tensors = [torch.tensor(a, requires_grad=a.dtype.kind in "fc") for a in arrays]
    result = case.function(*tensors)
    rng = np.random.default_rng(2)
    weight = rng.normal(size=result.shape) + (1j * rng.normal(size=result.shape) if result.is_complex() else 0)
    wrt = [tensor for tensor in tensors if tensor.requires_grad]
    expected = [torch.zeros_like(tensor) for tensor in wrt]
    if result.requires_grad:
        grads = torch.autograd.grad(result, wrt, torch.tensor(weight), allow_unused=True, materialize_grads=True)
        expected = list(grads)
    seed = ops.leaf("input", "seed", value.shape, value.kind, value.domain)
    targets = [leaf for leaf in leaves if leaf.kind in (Kind.FLOAT, Kind.COMPLEX)]
    pulled = cotangents([value], [seed], targets)
    assert [(c.shape, c.kind) for c in pulled] == [(t.shape, t.kind) for t in targets]
    found = evaluate(pulled, {**dict(zip(leaves, arrays)), seed: weight}, Scope({}, topology=TOPOLOGY))
    for own, theirs in zip(found, expected):
        everywhere = np.broadcast_to(own, theirs.shape)  # the cotangent of a sum over all edges has no edges
        np.testing.assert_allclose(everywhere, theirs.resolve_conj().numpy(), rtol=1e-10, atol=1e-12)
