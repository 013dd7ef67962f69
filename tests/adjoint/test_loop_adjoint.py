"""The adjoint of a loop as a cell, run by the reference, against the reference's own reverse mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lsrl
from lsrl.backends.evaluation.evaluate import evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.backends.reference import gradients, run
from lsrl.ir import ops
from lsrl.ir.cell import Cell, Output
from lsrl.ir.loop_adjoint import loop_adjoint
from lsrl.ir.value import Kind, postorder

PROGRAMS = {
    "elman": """
cell elman(D, H):
    input x: [D]
    param W: [H, D], U: [H, H], b: [H]
    state h: [H] = 0
    h' = tanh(W @ x + U @ h + b)
    output h'
""",
    "tied": """
cell tied(H):
    input x: [H]
    param W: [H, H], g: []
    state h, c: [H] = 0
    h' = tanh(W @ (x * h) + W.T @ c + g * h)
    c' = exp(g) * c + softmax(W @ h')
    output y = c' * h + g
""",
    "memory": """
cell memory(K, V):
    input k, q: [K], v: [V], a, b: []
    param p: [K]
    state S: [K, V] = 0, n: [K] = 0
    S' = sigmoid(a) * (S - b * outer(p * k, k @ S)) + outer(k, v)
    n' = sigmoid(a) * n + k
    output o = (q @ S') / max(abs(dot(q, n')), 1)
""",
    "rotating": """
cell rotating(D, H):
    input x: [D]
    param nu, theta: [H], B: [H, D] complex
    state h: [H] complex = 0
    h' = exp(-exp(nu)) * cis(theta) * h + B @ x
    output y = re(h' * h') + im(h)
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_adjoint_of_a_loop_gives_its_gradients(name: str, reverse: bool) -> None:
    sizes = {"D": 3, "H": 4, "K": 3, "V": 2}
    program = lsrl.parse(PROGRAMS[name])
    cell, bound = program.bind({name: sizes[name] for name in program.sizes})
    turned = frozenset("t" if reverse else ())
    cell = replace(cell, states=tuple(replace(state, reverse=turned) for state in cell.states))
    rng = np.random.default_rng(0)

    def draw(shape: tuple[int, ...], kind: Kind) -> np.ndarray:
        real = rng.normal(size=shape)
        return real + 1j * rng.normal(size=shape) if kind is Kind.COMPLEX else real

    def numbers(shape: object) -> tuple[int, ...]:
        return tuple(dim.evaluate(bound) for dim in shape)  # type: ignore[attr-defined]

    batch, length = 2, 5
    params = {p.name: 0.5 * draw(numbers(p.shape), p.kind) for p in cell.params}
    inputs = {i.name: draw((batch, length, *numbers(i.shape)), i.kind) for i in cell.inputs}
    state = {s.name: draw((batch, *numbers(s.shape)), s.kind) for s in cell.states}
    spied = replace(cell, outputs=(*cell.outputs, *_arriving(cell)))
    result = run(spied, bound, params, inputs, state)
    shown = {o.name: draw(result.outputs[o.name].shape, o.value.kind) for o in cell.outputs}
    ends = {s.name: draw(result.state[s.name].shape, s.kind) for s in cell.states}
    expected = gradients(cell, bound, params, inputs, state, shown | {f"state.{n}": end for n, end in ends.items()})

    adjoint = loop_adjoint(cell)
    given = inputs | {s.name: result.outputs[f"arriving {s.name}"] for s in cell.states}
    given |= {adjoint.seeds[output]: cotangent for output, cotangent in shown.items()}
    found = run(adjoint.cell, bound, params, given, {adjoint.states[n]: end for n, end in ends.items()})

    for declared in cell.inputs:
        np.testing.assert_allclose(found.outputs[adjoint.inputs[declared.name]], expected.inputs[declared.name], 1e-10)
    for s in cell.states:
        np.testing.assert_allclose(found.state[adjoint.states[s.name]], expected.state[s.name], 1e-10, 1e-12)
    env = {ops.leaf("param", p.name, p.shape, p.kind): params[p.name] for p in cell.params}
    outputs = {output.name: output.value for output in adjoint.cell.outputs}
    for summed in adjoint.summed:
        leaf = ops.leaf("param", summed, outputs[summed].shape, outputs[summed].kind)
        env[leaf] = found.outputs[summed].sum((0, 1))
    for param, value in adjoint.params.items():
        np.testing.assert_allclose(evaluate([value], env, Scope(bound))[0], expected.params[param], 1e-10, 1e-12)


def _arriving(cell: Cell) -> list[Output]:
    leaves = {v.attr("name"): v for v in postorder(cell.roots()) if v.op == "state"}
    return [Output(f"arriving {state.name}", leaves[state.name]) for state in cell.states]
