"""A cell of the package torchrecurrent as a peer: which of a program's names its parameters and states are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torchrecurrent import base

from support.peers.row import Given, Row, Tensors

SIZES = {"D": 3, "H": 5}
Module = Callable[..., torch.nn.Module]


@dataclass(frozen=True)
class Cell:
    """A cell of torchrecurrent.

    Attributes:
        module: its class.
        params: what its parameters are made of: names of the program, stacked.  `eye` is the identity, `none`
            a bias of zeros.  Biases that are not named are zero, as the package makes them.
        states: the program's name of each of its states; a name may come twice.
        output: the program's name of what it gives out.
        options: what else its class is told.
    """

    module: Module
    params: Mapping[str, str]
    states: tuple[str, ...]
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)


def row(
    program: str,
    module: Module,
    *,
    states: str = "h",
    output: str = "h",
    options: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] = SIZES,
    slip: str = "",
    **params: str,
) -> Row:
    """The row of a program that is one cell of torchrecurrent."""
    cell = Cell(module, params, tuple(states.split()), output, options or {})
    reference = f"torchrecurrent.{getattr(module, '__name__', '')}"
    return Row(program, sizes, reference, partial(over_positions, cell), slip=slip)


def over_positions(cell: Cell, given: Given) -> Tensors:
    """Runs a cell from the start to the end."""
    step = stepper(cell, given)
    (inputs,) = given.inputs.values()
    state = tuple(given.state[name] for name in cell.states)
    outputs = []
    for x in inputs.unbind(1):
        output, state = step(x, state)
        outputs.append(output)
    finals = {f"state.{name}": value for name, value in zip(cell.states, state)}
    return {cell.output: torch.stack(outputs, 1), **finals}


Step = Callable[..., tuple[torch.Tensor, tuple[torch.Tensor, ...]]]


def stepper(cell: Cell, given: Given) -> Step:
    """One step of a cell with given parameters: (x, states) to the output and the new states.

    Parameters may be replaced for one step, by name.
    """
    width = given.sizes["H"]
    module = cell.module(given.sizes.get("D", width), width, dtype=torch.float64, **cell.options)
    parameters = {name: _stacked(blocks.split(), given) for name, blocks in cell.params.items()}
    unnamed = {name for name, value in module.named_parameters() if name not in parameters and value.abs().max() > 0}
    assert unnamed <= {"beta"}, f"{cell.module} has {unnamed}"

    def step(x: torch.Tensor, state: tuple[torch.Tensor, ...], **replaced: torch.Tensor) -> Any:
        arguments = (x, state if len(state) > 1 else state[0])
        result = torch.func.functional_call(module, {**parameters, **replaced}, arguments)
        if isinstance(module, base.DecoupledDoubleStateCellBase):
            return result
        if isinstance(module, base.DecoupledSingleStateCellBase):
            return result[0], (result[1],)
        new = result if len(state) > 1 else (result,)
        return new[0], new

    return step


def _stacked(names: list[str], given: Given) -> torch.Tensor:
    width = given.sizes["H"]
    constants = {"eye": torch.eye(width, dtype=torch.float64), "none": torch.zeros(width, dtype=torch.float64)}
    return torch.cat([torch.atleast_1d(given.params[n] if n in given.params else constants[n]) for n in names])
