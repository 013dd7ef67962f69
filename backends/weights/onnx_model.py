"""Compiled networks as ONNX models: the operators RNN, LSTM and GRU, with MatMul, Relu and Mul between.

Batch and length stay free.  The operators run along the first axis, so the input is transposed once, and the output
back.  A linear recurrent layer is the operator RNN with the identity, `Affine`, as its activation.  Gates come in
another order than in torch:

    LSTM   torch i f g o   ONNX i o f c
    GRU    torch r z n     ONNX z r h, with linear_before_reset
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lsrl.backends.arrays import Array
from lsrl.backends.weights.architecture import Json
from lsrl.backends.weights.faults import ArchitectureError

OPSET, FORMAT = 17, 8
"""Of 2022: what runs a model may be as old as that."""

ORDERS: Mapping[str, Sequence[int]] = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""The gates of torch in the order of ONNX."""


@dataclass
class _Graph:
    """A graph that is being written; every operation has one output that is used."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, array: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operation: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operation, inputs, [name], name, **attributes))
        return name

    def linear(self, x: str, weight: Array, bias: Array, name: str) -> str:
        """x @ weight.T + bias"""
        product = self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
        return self.add("Add", [product, self.constant(f"{name}.bias", bias)], name)


def onnx_model(name: str, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> onnx.ModelProto:
    """A model from `x` [batch, length, in] to `y` [batch, length, out], of the numbers' own type.

    Args:
        config: what `load.py` builds the module from.
        tensors: its state dict.

    Raises:
        ArchitectureError: a recurrent layer is no operator of ONNX.
    """
    graph = _Graph()
    x = graph.add("Transpose", ["x"], "by_position", perm=[1, 0, 2])
    x = _stages(graph, x, config["stages"], tensors) if "stages" in config else _stack(graph, x, config, tensors)
    x = graph.linear(x, tensors["readout.weight"], tensors["readout.bias"], "readout")
    graph.add("Transpose", [x], "y", perm=[1, 0, 2])
    kind = helper.np_dtype_to_tensor_dtype(tensors["readout.weight"].dtype)
    outside = [("x", _inputs(config)), ("y", tensors["readout.weight"].shape[0])]
    ports = [helper.make_tensor_value_info(port, kind, ["batch", "length", size]) for port, size in outside]
    written = helper.make_graph(graph.nodes, name, ports[:1], ports[1:], graph.constants)
    model = helper.make_model(
        written, producer_name="lsrl", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _inputs(config: Mapping[str, Any]) -> int:
    """The width of what the module reads."""
    kind, *sizes = config["stages"][0] if "stages" in config else ("stack", config["inputs"])
    found: int = sizes[1] if kind == "recurrent" else sizes[0]
    return found


def _stack(graph: _Graph, x: str, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """`load_stack`: layers of one cell."""
    activations = ["Relu" if config["options"].get("nonlinearity") == "relu" else "Tanh"]
    for number in range(config["layers"]):
        named = {key: tensors[f"rnn.{key}_l{number}"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        attributes = {"activations": activations} if config["cell"] == "RNN" else {}
        x = _recurrent(graph, x, config["cell"], named, f"layer{number}", attributes)
    return x


def _stages(graph: _Graph, x: str, stages: Sequence[Sequence[Json]], tensors: Mapping[str, Array]) -> str:
    """`load_blocks`: recurrent layers beside what they read, and layers of ReLUs and products."""
    for number, stage in enumerate(stages):
        prefix = f"stages.{number}."
        own = {key.removeprefix(prefix): array for key, array in tensors.items() if key.startswith(prefix)}
        if stage[0] == "recurrent":
            hidden = _cell(graph, x, str(stage[1]), own, f"stage{number}.cell")
            x = graph.add("Concat", [x, hidden], f"stage{number}", axis=2)
        else:
            x = _rectified(graph, x, own, f"stage{number}")
    return x


def _cell(graph: _Graph, x: str, cell: str, own: Mapping[str, Array], name: str) -> str:
    match cell:
        case "LinearRNN":
            A, B, b = own["rnn.A.weight"], own["rnn.B.weight"], own["rnn.B.bias"]
            named = {"weight_ih": B, "weight_hh": A, "bias_ih": b, "bias_hh": np.zeros_like(b)}
            identity = {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}
            return _recurrent(graph, x, "RNN", named, name, identity)
        case "RNN" | "GRU":
            named = {key: own[f"rnn.{key}_l0"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            return _recurrent(graph, x, cell, named, name, {"linear_before_reset": 1} if cell == "GRU" else {})
        case _:
            raise ArchitectureError(f"{cell} is no operator of ONNX: the mixers of transformers stay in torch")


def _recurrent(
    graph: _Graph, x: str, cell: str, named: Mapping[str, Array], name: str, attributes: Mapping[str, Any]
) -> str:
    """One operator, from [length, batch, in] to [length, batch, hidden]."""
    hidden = named["weight_hh"].shape[1]
    weight, back, *biases = (
        np.concatenate([array.reshape(-1, hidden, *array.shape[1:])[gate] for gate in ORDERS[cell]])[None]
        for array in (named["weight_ih"], named["weight_hh"], named["bias_ih"], named["bias_hh"])
    )
    parts = {"weight": weight, "back": back, "bias": np.concatenate(biases, -1)}
    read = [x, *(graph.constant(f"{name}.{part}", array) for part, array in parts.items())]
    states = graph.add(cell, read, f"{name}.states", hidden_size=hidden, **attributes)
    return graph.add("Squeeze", [states, graph.constant(f"{name}.direction", np.array([1]))], name)


def _rectified(graph: _Graph, x: str, own: Mapping[str, Array], name: str) -> str:
    linear = graph.linear(x, own["linear.weight"], own["linear.bias"], f"{name}.linear")
    rectified = graph.add("Relu", [linear], f"{name}.relu")
    if "factors.weight" not in own:
        return rectified
    count = len(own["factors.bias"]) // 2
    halves = [
        graph.linear(x, own["factors.weight"][part], own["factors.bias"][part], f"{name}.factor{number}")
        for number, part in enumerate((slice(0, count), slice(count, None)))
    ]
    product = graph.add("Mul", halves, f"{name}.products")
    return graph.add("Concat", [rectified, product], name, axis=2)
