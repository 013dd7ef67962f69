"""Compiled networks as ONNX models: recurrent layers (`onnx_cells`), with MatMul, Relu and Mul between.

Batch and length stay free.  Layers run along the first axis, so the input is transposed once, and the output back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from lsrl.backends.arrays import Array
from lsrl.backends.weights.architecture import Json
from lsrl.backends.weights.faults import ArchitectureError
from lsrl.backends.weights.onnx_cells import recurrent
from lsrl.backends.weights.onnx_graph import OnnxGraph

OPSET, FORMAT = 17, 8
"""Of 2022: what runs a model may be as old as that."""


def onnx_model(name: str, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> onnx.ModelProto:
    """A model from `x` [batch, length, in] to `y` [batch, length, out], of the numbers' own type.

    Args:
        config: what `load.py` builds the module from.
        tensors: its state dict.

    Raises:
        ArchitectureError: a recurrent layer is no operator of ONNX.
    """
    graph = OnnxGraph()
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


def _stack(graph: OnnxGraph, x: str, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """`load_stack`: layers of one cell."""
    cell = config["options"].get("nonlinearity", "tanh") if config["cell"] == "RNN" else config["cell"]
    for number in range(config["layers"]):
        x = recurrent(graph, x, cell, _torch_layer(tensors, number), f"layer{number}")
    return x


def _torch_layer(tensors: Mapping[str, Array], number: int) -> dict[str, Array]:
    """One layer of a module of torch that is called `rnn`."""
    return {key: tensors[f"rnn.{key}_l{number}"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}


def _stages(graph: OnnxGraph, x: str, stages: Sequence[Sequence[Json]], tensors: Mapping[str, Array]) -> str:
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


def _cell(graph: OnnxGraph, x: str, cell: str, own: Mapping[str, Array], name: str) -> str:
    match cell:
        case "LinearRNN":
            A, B, b = own["rnn.A.weight"], own["rnn.B.weight"], own["rnn.B.bias"]
            named = {"weight_ih": B, "weight_hh": A, "bias_ih": b, "bias_hh": np.zeros_like(b)}
            return recurrent(graph, x, "identity", named, name)
        case "RNN" | "GRU":
            return recurrent(graph, x, "tanh" if cell == "RNN" else cell, _torch_layer(own, 0), name)
        case _:
            raise ArchitectureError(f"{cell} is no operator of ONNX: the mixers of transformers stay in torch")


def _rectified(graph: OnnxGraph, x: str, own: Mapping[str, Array], name: str) -> str:
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
