"""Recurrent layers in ONNX, from [length, batch, in] to [length, batch, hidden].

Engines choose how the operators RNN, LSTM and GRU compute tanh and sigmoid.  onnxruntime (1.32, on the CPU) has
2 sigmoid(2 x) - 1 for the tanh of an RNN, which is 0 below 2^-25, and a sigmoid for gates that is never 0; it has none
of the three in float64.  So only float32 layers with neither function become the operator RNN, whose activation is then
Relu, or for linear layers Affine, the identity.  Any other is a Scan over the positions, whose body has the equations
of torch, with a tanh that is right everywhere: x where tanh(x) rounds to x, else the operator Tanh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from lsrl.backends.arrays import Array
from lsrl.backends.weights.architecture import PRECISIONS
from lsrl.backends.weights.onnx_graph import OnnxGraph

Tensors = Mapping[str, Array]
"""As in torch, without the layer's number: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`; gates follow each other."""

OPERATORS: Mapping[str, Mapping[str, Any]] = {
    "relu": {"activations": ["Relu"]},
    "identity": {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
}


@dataclass(frozen=True)
class _Body:
    """The equations of one position.

    Attributes:
        graph: of the body.
        entered: the name of W x + b, [batch, gates * hidden].
        hidden, cell: the names of the states that arrive, [batch, hidden].
        tensors: of the layer.
    """

    graph: OnnxGraph
    entered: str
    hidden: str
    cell: str
    tensors: Tensors

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """A new name for the result."""
        return self.graph.add(operation, inputs, f"{operation.lower()}{len(self.graph.nodes)}", **attributes)

    def number(self, value: float) -> str:
        dtype = self.tensors["weight_hh"].dtype
        return self.graph.constant(f"number{len(self.graph.constants)}", np.array(value, dtype))

    def tanh(self, x: str) -> str:
        linear = PRECISIONS[self.tensors["weight_hh"].dtype.name].linear
        small = self.add("LessOrEqual", self.add("Abs", x), self.number(linear))
        return self.add("Where", small, x, self.add("Tanh", x))

    def fed_back(self) -> str:
        """U h + b, [batch, gates * hidden]."""
        return self.graph.linear(self.hidden, self.tensors["weight_hh"], self.tensors["bias_hh"], "back")

    def gates(self, array: str, count: int) -> tuple[str, ...]:
        """The parts of [batch, count * hidden]."""
        size = self.tensors["weight_hh"].shape[1]
        return tuple(self.add("Slice", array, *self._ends(k * size, (k + 1) * size)) for k in range(count))

    def _ends(self, *ends: int) -> tuple[str, ...]:
        number = len(self.graph.constants)
        named = {f"end{number}": ends[0], f"end{number + 1}": ends[1], f"end{number + 2}": 1}
        return tuple(self.graph.constant(name, np.array([end])) for name, end in named.items())


Equations = Callable[[_Body], Sequence[str]]
"""The names of the states that are passed on, the hidden one first."""


def _relu(body: _Body) -> Sequence[str]:
    return (body.add("Relu", body.add("Add", body.entered, body.fed_back())),)


def _identity(body: _Body) -> Sequence[str]:
    return (body.add("Add", body.entered, body.fed_back()),)


def _tanh(body: _Body) -> Sequence[str]:
    return (body.tanh(body.add("Add", body.entered, body.fed_back())),)


def _lstm(body: _Body) -> Sequence[str]:
    i, f, g, o = body.gates(body.add("Add", body.entered, body.fed_back()), 4)
    kept = body.add("Mul", body.add("Sigmoid", f), body.cell)
    added = body.add("Mul", body.add("Sigmoid", i), body.tanh(g))
    cell = body.add("Add", kept, added)
    return body.add("Mul", body.add("Sigmoid", o), body.tanh(cell)), cell


def _gru(body: _Body) -> Sequence[str]:
    """h' = (1 - z) n + z h with n = tanh(W x + b + r (U h + b))."""
    (entered_r, entered_z, entered_n), (r, z, n) = body.gates(body.entered, 3), body.gates(body.fed_back(), 3)
    reset = body.add("Sigmoid", body.add("Add", entered_r, r))
    kept = body.add("Sigmoid", body.add("Add", entered_z, z))
    new = body.tanh(body.add("Add", entered_n, body.add("Mul", reset, n)))
    taken = body.add("Mul", body.add("Sub", body.number(1.0), kept), new)
    return (body.add("Add", taken, body.add("Mul", kept, body.hidden)),)


EQUATIONS: Mapping[str, Equations] = {
    "relu": _relu,
    "identity": _identity,
    "tanh": _tanh,
    "LSTM": _lstm,
    "GRU": _gru,
}


def recurrent(graph: OnnxGraph, x: str, cell: str, tensors: Tensors, name: str) -> str:
    """A layer; `cell` is a key of `EQUATIONS`, for an RNN its nonlinearity."""
    if cell in OPERATORS and tensors["weight_hh"].dtype == np.float32:
        return _operator(graph, x, tensors, name, OPERATORS[cell])
    return _scan(graph, x, EQUATIONS[cell], tensors, name, states=2 if cell == "LSTM" else 1)


def _operator(graph: OnnxGraph, x: str, tensors: Tensors, name: str, attributes: Mapping[str, Any]) -> str:
    biases = np.concatenate([tensors["bias_ih"], tensors["bias_hh"]])
    parts = {"weight": tensors["weight_ih"], "back": tensors["weight_hh"], "bias": biases}
    read = [x, *(graph.constant(f"{name}.{part}", array[None]) for part, array in parts.items())]
    hidden = tensors["weight_hh"].shape[1]
    states = graph.add("RNN", read, f"{name}.states", hidden_size=hidden, **attributes)
    return graph.add("Squeeze", [states, graph.constant(f"{name}.direction", np.array([1]))], name)


def _scan(graph: OnnxGraph, x: str, equations: Equations, tensors: Tensors, name: str, states: int) -> str:
    """W x + b for all positions at once, then position by position; states start at 0."""
    entered = graph.linear(x, tensors["weight_ih"], tensors["bias_ih"], f"{name}.entered")
    hidden, dtype = tensors["weight_hh"].shape[1], tensors["weight_hh"].dtype
    batch = graph.add("Shape", [x], f"{name}.batch", start=1, end=2)
    shape = graph.add("Concat", [batch, graph.constant(f"{name}.hidden", np.array([hidden]))], f"{name}.shape", axis=0)
    zero = helper.make_tensor("value", helper.np_dtype_to_tensor_dtype(dtype), [1], [0.0])
    start = graph.add("ConstantOfShape", [shape], f"{name}.start", value=zero)
    body = _body(equations, tensors, states)
    outputs = [*(f"{name}.last{number}" for number in range(states)), name]
    read = [*[start] * states, entered]
    graph.nodes.append(helper.make_node("Scan", read, outputs, name, body=body, num_scan_inputs=1))
    return name


def _body(equations: Equations, tensors: Tensors, states: int) -> Any:
    """The graph of one position: states and what enters to states and the hidden one once more."""
    kind = helper.np_dtype_to_tensor_dtype(tensors["weight_hh"].dtype)
    hidden = tensors["weight_hh"].shape[1]
    graph = OnnxGraph()
    arriving = ["h", "c"][:states]
    passed = equations(_Body(graph, "entered", "h", "c", tensors))
    followed = [graph.add("Identity", [state], f"{old}.next") for old, state in zip(arriving, passed)]
    put_out = graph.add("Identity", [passed[0]], "out")

    def port(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, kind, ["batch", size])

    inputs = [*(port(state, hidden) for state in arriving), port("entered", tensors["weight_ih"].shape[0])]
    outputs = [*(port(state, hidden) for state in followed), port(put_out, hidden)]
    return helper.make_graph(graph.nodes, "position", inputs, outputs, graph.constants)
