"""Programs as the weights of real networks: `lsrl.weights.compile`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lsrl.array_files import write_arrays
from lsrl.backends import reference
from lsrl.backends.arrays import Array, ArrayError, Arrays
from lsrl.backends.given_ranges import Given, read_given
from lsrl.backends.initialise import init_params
from lsrl.backends.weights.architecture import PRECISIONS, Architecture, Emitted, Precision, softened
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.backends.weights.execute import probed
from lsrl.backends.weights.faults import ArchitectureError, MissingLibrary, NotExact, needed
from lsrl.backends.weights.network import Network
from lsrl.backends.weights.normal_form import architecture_named, network_for, prepared, taken_apart
from lsrl.backends.weights.torch_network import built, layer_outputs, template_text
from lsrl.files import write_bytes, write_text
from lsrl.ir.cell import Cell, Output
from lsrl.ir.value import Kind
from lsrl.program import Program
from lsrl.weights_report import Report, Setting, make_report
from lsrl.weights_samples import sampled
from lsrl.weights_table import HORIZON
from lsrl.weights_trace import Trace, Traced

with needed("the target weights", "lsrl[torch]"):
    import torch
    from safetensors.torch import load_file

__all__ = [
    "ARCHITECTURES",
    "HORIZON",
    "ArchitectureError",
    "CompiledWeights",
    "MissingLibrary",
    "NotExact",
    "Trace",
    "Traced",
    "compile",
]

CHECKED = (4, 64)
"""Batch and length of the random sequences whose error the report has."""


@dataclass(frozen=True, eq=False)
class CompiledWeights:
    """A program as a network that computes the same.

    Attributes:
        cell, sizes, params: the program.
        architecture, dtype: what it was compiled for.
        network: its normal form.
        module: a `torch.nn.Module` from [B, T, in] to [B, T, out]; inputs and outputs follow each other in the order
            of declaration, their elements row-major.
        report: size and errors.
        one_hot: inputs that have one 1 along their last axis, and else zeros.
    """

    cell: Cell = field(repr=False)
    sizes: Mapping[str, int]
    params: Mapping[str, Array] = field(repr=False)
    architecture: Architecture
    dtype: str
    network: Network = field(repr=False)
    emitted: Emitted = field(repr=False)
    module: torch.nn.Module = field(repr=False)
    report: Report = field(repr=False)
    one_hot: tuple[str, ...] = ()

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        """The outputs [B, T, *shape] by name for inputs [B, T, *shape] by name."""
        with torch.no_grad():
            outputs = self.module(self._joined(inputs)).numpy()
        return _split(self.network, outputs)

    def trace(self, inputs: Arrays) -> Trace:
        """Every value of the program that has a name and is in the network: decoded from it, beside the reference's."""
        named = _traced(self.cell, self.sizes, self.params, self.network, self.emitted, self.module, inputs)
        return Trace(f"{self.cell.name} as {self.architecture.title}, {self.dtype}", named)

    def samples(self, batch: int, length: int, seed: int = 0) -> dict[str, Array]:
        """Random inputs [B, T, *shape] by name, within the ranges that the network was compiled for."""
        return sampled(self.network, batch, length, self.one_hot, seed)

    def save(self, directory: str | Path) -> None:
        """Write `model.safetensors`, `config.json`, `load.py` and the report; `load.py` needs torch alone."""
        folder = Path(directory)
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in self.module.state_dict().items()}
        write_arrays(folder / "model.safetensors", weights)
        write_text(folder / "config.json", self.report.config_json(self.emitted.config))
        write_text(folder / "load.py", template_text(self.architecture.template))
        write_text(folder / "report.json", self.report.json())
        write_text(folder / "report.md", self.report.markdown())

    def save_onnx(self, path: str | Path) -> None:
        """Write the module as it is now as an ONNX model, from `x` [batch, length, in] to `y` [batch, length, out].

        Layers with a tanh or a sigmoid, and all of float64, are written out position by position, because what runs the
        model may compute the operators RNN, LSTM and GRU by approximations in which no program is exact (`onnx_cells`).

        Raises:
            ArchitectureError: the recurrent layers are mixers of transformers, which are no operators of ONNX.
            MissingLibrary: onnx is not installed.
        """
        with needed("an ONNX model", "lsrl[onnx]"):
            from lsrl.backends.weights.onnx_model import onnx_model

        tensors = {name: tensor.detach().cpu().numpy() for name, tensor in self.module.state_dict().items()}
        model = onnx_model(self.cell.name, self.emitted.config, tensors)
        write_bytes(Path(path), model.SerializeToString(deterministic=True))

    def load(self, directory: str | Path) -> None:
        """Take the weights of a folder that `save` wrote: of the same program, fine-tuned perhaps."""
        self.module.load_state_dict(load_file(Path(directory) / "model.safetensors"))

    def _joined(self, inputs: Arrays) -> torch.Tensor:
        return _joined(self.network, inputs, self.dtype)


def compile(
    program: Program,
    arch: str,
    sizes: Mapping[str, int] | None = None,
    params: Arrays | None = None,
    dtype: str = "float32",
    given: Mapping[str, Given] | Iterable[str] = (),
    horizon: int = HORIZON,
    gate_scale: float | None = None,
) -> CompiledWeights:
    """A program as the weights of a network.

    Args:
        arch: a key of `ARCHITECTURES`.
        sizes: numbers for the sizes without a default, and for others if wanted.
        params: numbers of the program's parameters; those that are missing are drawn with the seed 0.
        dtype: float32 or float64.
        given: what inputs are within, `["x=-1:1"]`; whole numbers and truth values are known from their kinds.
        horizon: the longest sequence that bounds have to hold for.
        gate_scale: for networks that are to be trained, about 8 to 14: gates are sigmoid(±gate_scale), which have
            gradients, instead of saturated ones; the error that this makes is part of the bounds.

    Raises:
        NotExact: the program is not made of affine maps, ReLUs, comparisons, products and linear states.
        ArchitectureError: there is no such architecture, or it does not hold the program; the message says who does.
        DimError, RangeError: sizes or ranges do not fit the program.
    """
    if dtype not in PRECISIONS:
        raise ArchitectureError(f"weights are {' or '.join(PRECISIONS)}, not {dtype}")
    architecture, precision = architecture_named(arch), PRECISIONS[dtype]
    cell, numbers = program.bind(sizes)
    known = init_params(cell, numbers) | {name: np.asarray(array) for name, array in (params or {}).items()}
    within = dict(given) if isinstance(given, Mapping) else read_given(given)
    if gate_scale is not None:
        precision = _softened(architecture, precision, gate_scale)
    taken = prepared(cell, numbers, diagonal=architecture.diagonal)
    scalars = taken_apart(taken.cell, numbers, known, within, horizon, snapping=precision.leak > 0)
    network = network_for(scalars, architecture)
    emitted = architecture.emit(network, precision)
    module = built(emitted, architecture.template, dtype)
    batch, length = CHECKED[0], min(CHECKED[1], horizon)
    one_hot = tuple(name for name, each in within.items() if each.one_hot)
    inputs = sampled(network, batch, length, one_hot)
    traced = _traced(cell, numbers, known, network, emitted, module, inputs)
    setting = Setting(architecture, precision, numbers, horizon, batch, length, taken.notes)
    report = make_report(network, setting, emitted, {name: value.error for name, value in traced.items()})
    for error in report.values:
        if error.measured > error.predicted + traced[error.name].rounding:
            raise RuntimeError(f"{error.name} is off by {error.measured:g}, its bound is {error.predicted:g}")
    return CompiledWeights(cell, numbers, known, architecture, dtype, network, emitted, module, report, one_hot)


def _softened(architecture: Architecture, precision: Precision, gate_scale: float) -> Precision:
    if not architecture.softens:
        able = ", ".join(name for name, each in ARCHITECTURES.items() if each.softens)
        raise ArchitectureError(f"{architecture.name} has no gates that a scale could soften; {able} have")
    if not 1 <= gate_scale <= precision.saturation:
        most = f"{precision.saturation:g}, where gates are saturated"
        raise ArchitectureError(f"gates are scaled by 1 up to {most}; {gate_scale:g} is not within")
    return softened(precision, gate_scale)


def _traced(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Arrays,
    network: Network,
    emitted: Emitted,
    module: torch.nn.Module,
    inputs: Arrays,
) -> dict[str, Traced]:
    dtype = next(module.parameters()).dtype
    x = _joined(network, inputs, str(dtype).removeprefix("torch."))
    hidden = [array.double().numpy() for array in layer_outputs(module, x)]
    slots = [x.double().numpy()]
    slots += [h @ decoder.matrix.T + decoder.offset for h, decoder in zip(hidden, emitted.decoders)]
    found = probed(network, slots)
    named = {name: value for value, name in cell.names.items() if name in found}
    typed = _typed(cell, inputs)
    asked = replace(cell, outputs=tuple(Output(name, value) for name, value in named.items()))
    meant = reference.run(asked, sizes, params, typed).outputs
    with torch.no_grad():
        outputs = _split(network, module(x).double().numpy())
    ends = reference.run(cell, sizes, params, typed).outputs
    traced = {name: Traced(found[name], np.asarray(meant[name], np.float64)) for name in named}
    return traced | {name: Traced(outputs[name], np.asarray(ends[name], np.float64)) for name in outputs}


def _joined(network: Network, inputs: Arrays, dtype: str) -> torch.Tensor:
    """The inputs side by side, [B, T, in]."""
    unknown = sorted(set(inputs) - {port.name for port in network.inputs})
    missing = [port.name for port in network.inputs if port.name not in inputs]
    if unknown or missing:
        raise ArrayError(f"{network.name} needs the inputs {', '.join(port.name for port in network.inputs)}")
    arrays = [np.asarray(inputs[port.name], np.float64) for port in network.inputs]
    for port, array in zip(network.inputs, arrays):
        if array.ndim != 2 + len(port.shape) or array.shape[2:] != port.shape:
            expected = ", ".join(["B", "T", *map(str, port.shape)])
            raise ArrayError(f"input {port.name} has the shape {list(array.shape)}; expected [{expected}]")
    flat = [array.reshape(*array.shape[:2], -1) for array in arrays]
    return torch.tensor(np.concatenate(flat, -1), dtype=getattr(torch, dtype))


def _typed(cell: Cell, inputs: Arrays) -> dict[str, Array]:
    """The inputs as numbers of their kinds."""
    kinds = {Kind.INT: np.int64, Kind.BOOL: np.bool_}
    return {each.name: np.asarray(inputs[each.name]).astype(kinds.get(each.kind, np.float64)) for each in cell.inputs}


def _split(network: Network, outputs: Array) -> dict[str, Array]:
    ends = np.cumsum([port.size for port in network.outputs])[:-1]
    parts = np.split(outputs, ends, axis=-1)
    return {port.name: part.reshape(*part.shape[:2], *port.shape) for port, part in zip(network.outputs, parts)}
