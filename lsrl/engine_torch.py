"""An emitted PyTorch and Triton module as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lsrl.arguments import Arguments, Named, check_cotangents
from lsrl.backends.arrays import Array
from lsrl.backends.result import Gradients, Result
from lsrl.engine import initial_extent, moving, starting, whole_extent
from lsrl.graph_runs import is_over_graph, prepared
from lsrl.ir.cell import Cell

Tensors = dict[str, torch.Tensor]

# A `Result` can be returned from what `torch.export` and `torch.func` take.
torch.export.register_dataclass(Result)


@dataclass(frozen=True)
class TorchEngine:
    """Runs a module that `lsrl.backends.emit_triton` wrote.

    Tensors stay on their device.  NumPy arrays go to where the first tensor is, or to the GPU if there is one.
    """

    cell: Cell
    dtype: str
    module: ModuleType

    def init(self, seed: int) -> Tensors:
        params: Tensors = self.module.init(seed, device=_device(()))
        return params

    def initial_state(self, params: Named, extent: Mapping[str, int]) -> Tensors:
        if not starting(self.cell):
            return {}
        device = _device(params.values())
        told = initial_extent(self.cell, extent)
        states: Tensors = self.module.initial_state(_tensors(params, device), *told, device)
        return states

    def run(self, given: Arguments) -> Result:
        if is_over_graph(self.cell):
            params, inputs, _ = _placed(given)
            device = _device([*params.values(), *inputs.values()])
            graph = prepared(self.module, given.inputs, given.extent["nodes"], device)
            return Result(*self.module.apply(params, inputs, graph))
        extent = {} if self.cell.inputs else whole_extent(self.cell, given.extent)
        apply = getattr(self.module, "apply_statistics", self.module.apply)  # there may be nothing to tell
        return Result(*apply(*_placed(given), **extent))

    def step(self, given: Arguments) -> Result:
        extent = {} if self.cell.inputs else {"batch": given.extent["B"]}
        return Result(*self.module.step(*_placed(given), **extent))

    @torch.no_grad()
    def last_states(self, given: Arguments) -> Tensors:
        extent = {} if self.cell.inputs else {"batch": given.extent["B"]}
        params, inputs, state = _placed(given)
        state = {**self.initial_state(params, given.extent), **state}
        for t in range(given.extent["T"]):
            here = {name: tensor[:, t] for name, tensor in inputs.items()}
            state = self.module.step(params, here, state, **extent)[1]
        return state

    def gradients(self, given: Arguments, cotangents: Named | None) -> Gradients:
        names = moving(self.cell, given.inputs)
        params, inputs, state = _placed(given)
        # An initial state that is not given still has a gradient: that of a zero added to what the program says.
        zeros = {name: torch.zeros_like(tensor) for name, tensor in self.initial_state(params, given.extent).items()}
        own_params = self.leaves(params, names.params)
        own_inputs = self.leaves(inputs, names.inputs)
        own_state = self.leaves({**zeros, **state}, names.states)
        every = {**params, **own_params}
        start = self.initial_state(every, given.extent)
        moved = {name: tensor if name in state else start[name] + tensor for name, tensor in own_state.items()}
        result = self.run(Arguments(every, {**inputs, **own_inputs}, {**state, **moved}, given.extent))
        check_cotangents(result, cotangents)
        leaves = [*own_inputs.values(), *own_params.values(), *own_state.values()]
        found = iter(_pulled(result, cotangents, leaves))
        by_input, by_param, by_state = (
            {name: next(found) for name in own} for own in (own_inputs, own_params, own_state)
        )
        return Gradients(by_input, by_param, by_state)

    def leaves(self, tensors: Tensors, names: Sequence[str]) -> Tensors:
        """These tensors as floats, or complex numbers, that gradients are collected for."""
        real: torch.dtype = getattr(torch, self.dtype)
        complex_ = torch.complex128 if real == torch.float64 else torch.complex64
        found = {name: tensors[name].detach() for name in names}
        typed = {name: t.to(complex_ if t.is_complex() else real, copy=True) for name, t in found.items()}
        return {name: tensor.requires_grad_() for name, tensor in typed.items()}

    def to_numpy(self, array: torch.Tensor) -> Array:
        wide = array.float() if array.dtype in (torch.bfloat16, torch.float16) else array
        numbers: Array = wide.detach().resolve_conj().cpu().numpy()
        return numbers


def _placed(given: Arguments) -> tuple[Tensors, Tensors, Tensors]:
    """Params, inputs and state as tensors on one device."""
    device = _device([*given.params.values(), *given.inputs.values(), *given.state.values()])
    return _tensors(given.params, device), _tensors(given.inputs, device), _tensors(given.state, device)


def _device(arrays: Any) -> torch.device:
    for array in arrays:
        if isinstance(array, torch.Tensor):
            return array.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _tensors(arrays: Named, device: torch.device) -> Tensors:
    # torch takes no NumPy array that is read backward.
    straight = {n: np.asarray(a, order="C") if isinstance(a, np.ndarray) else a for n, a in arrays.items()}
    return {name: torch.as_tensor(array, device=device) for name, array in straight.items()}


def _pulled(result: Result, cotangents: Named | None, leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The gradient of each leaf."""
    weights = dict(_weights(result, cotangents))
    roots = {name: tensor for name, tensor in _named(result).items() if name in weights and tensor.requires_grad}
    if not roots or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    seeds = [weights[name] for name in roots]
    found = torch.autograd.grad(list(roots.values()), leaves, seeds, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves)]


def _named(result: Result) -> Tensors:
    return {**result.outputs, **{f"state.{name}": tensor for name, tensor in result.state.items()}}


def _weights(result: Result, cotangents: Named | None) -> Mapping[str, torch.Tensor]:
    """The cotangent of each output and final state that has one."""
    if cotangents is None:
        return {name: torch.ones_like(tensor) for name, tensor in result.outputs.items()}
    every = _named(result)
    return {name: torch.as_tensor(given).to(every[name]) for name, given in cotangents.items()}
