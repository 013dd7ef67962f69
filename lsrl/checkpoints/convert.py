"""From the tensors of a published model to the parameters of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from math import prod
from typing import Any

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.checkpoints.architectures import ARCHITECTURES
from lsrl.checkpoints.table import Architecture, Config, Scope, Source
from lsrl.ir.fault import Refusal
from lsrl.program import Program, load

NAMED = 8
"""So many names of superfluous tensors are written out in a message."""


class CheckpointError(Refusal):
    """A checkpoint that is none of those we have programs for, or that lacks something."""


class _Settings(dict[str, Any]):
    """A configuration that says which of its entries is missing."""

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"config: {key} is missing")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published model as ours.

    Attributes:
        program: the model.
        sizes: its sizes, as the configuration has them.
        params: its parameters by name, in the precision of the checkpoint.
    """

    program: Program
    sizes: Mapping[str, int]
    params: Mapping[str, Array] = field(repr=False)


def convert(config: Any, tensors: Mapping[str, Any]) -> Checkpoint:
    """A model's configuration and tensors as a program with sizes and parameters.

    Args:
        config: what `config.json` says, as a mapping, or an object of `transformers` with that.
        tensors: by their published names, a `state_dict`: arrays of NumPy, or tensors of PyTorch.

    Raises:
        CheckpointError: the configuration is not one that a program of the library computes, or a tensor is missing,
            superfluous or ill-shaped; the message names it.
    """
    given = dict(config.to_dict() if hasattr(config, "to_dict") else config)
    architecture, settings = architecture_of(given)
    program = load(architecture.program)
    cell, sizes = program.bind({name: _size(settings, name, source) for name, source in architecture.sizes.items()})
    params: dict[str, Array] = {}
    used: set[str] = set()
    for param in cell.params:
        shape = tuple(dim.evaluate(sizes) for dim in param.shape)
        if param.name in architecture.computed:
            params[param.name] = np.full(shape, architecture.computed[param.name](settings), np.float32)
            continue
        source = source_of(architecture, settings, param.name)
        used.add(source.tensor)
        params[param.name] = _made(source, tensors, param.name, shape)
    _check_all_used(architecture, tensors, used)
    return Checkpoint(program, sizes, params)


def architecture_of(config: Config) -> tuple[Architecture, Config]:
    """The table for a configuration, with the configuration in full; CheckpointError when there is none."""
    kind = config.get("model_type")
    tables = [table for table in ARCHITECTURES if table.model_type == kind]
    if not tables:
        known = ", ".join(sorted({table.model_type for table in ARCHITECTURES}))
        raise CheckpointError(f"config: no program for the model_type {kind!r}; there are programs for {known}")
    given = {**config, **(config.get("rope_parameters") or {})}  # which stood beside the others in former versions
    complete = [(table, _Settings({**table.defaults, **given})) for table in tables]
    differing = [_differing(table, settings) for table, settings in complete]
    if "" not in differing:
        raise CheckpointError(f"config: {'; '.join(differing)}")
    return complete[differing.index("")]


def _differing(table: Architecture, settings: Config) -> str:
    """The first thing that a configuration wants otherwise than the program does it; empty where there is none."""
    for name, value in table.fixed.items():
        wanted = value(settings) if callable(value) else value
        found = settings.get(name)
        found = list(found) if isinstance(found, tuple) else found
        if found is not None and found != wanted:
            return f"{name} is {found!r}, and {table.program} computes {wanted!r}"
    return ""


def source_of(architecture: Architecture, settings: Config, name: str) -> Source:
    """Where one of our parameters comes from, by its tensor's full name; KeyError when the table does not say it."""
    found = next((s for scope in architecture.scopes for s in _sources(scope, settings, name)), None)
    if found is None:
        raise KeyError(f"the table of {architecture.model_type} has no {name}")
    return found


def _sources(scope: Scope, settings: Config, name: str) -> Iterator[Source]:
    place = re.escape(scope.ours).replace(r"\*", r"(\d+)")
    match = re.fullmatch(rf"{place}\.(.+)" if place else "(.+)", name)
    if match is None or match[match.lastindex or 0] not in scope.params:
        return
    *numbers, below = match.groups()
    source = scope.params[below]
    source = Source(source) if isinstance(source, str) else source
    prefix = scope.theirs.format(scope.number(settings, *map(int, numbers))) + "." if scope.theirs else ""
    yield replace(source, tensor=prefix + source.tensor)


def _size(settings: Config, name: str, source: str | Callable[[Config], float]) -> int:
    try:
        number = settings[source] if isinstance(source, str) else source(settings)
        whole = int(number)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"config: the size {name} cannot be told ({error})") from error
    if number != whole:
        raise CheckpointError(f"config: the size {name} is {number}, no whole number")
    return whole


def _made(source: Source, tensors: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Array:
    if source.tensor not in tensors and source.absent is not None:
        return np.full(shape, source.absent, np.float32)
    if source.tensor not in tensors:
        raise CheckpointError(f"{source.tensor} is missing; it becomes {name} {list(shape)}")
    array = _array(tensors[source.tensor])
    fits = array.size == prod(shape) if source.reshape else array.shape == shape
    if not fits:
        raise CheckpointError(f"{source.tensor} {list(array.shape)} cannot become {name} {list(shape)}")
    return array.reshape(shape)


def _array(tensor: Any) -> Array:
    """NumPy's array of a tensor.  PyTorch need not be loaded here: a tensor brings what is asked of it."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return np.asarray(tensor.numpy())
    return np.asarray(tensor)


def _check_all_used(architecture: Architecture, tensors: Mapping[str, Any], used: set[str]) -> None:
    ignored = architecture.ignored
    rest = [name for name in tensors if name not in used and not any(fnmatch(name, pattern) for pattern in ignored)]
    if rest:
        more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
        raise CheckpointError(f"{architecture.program} has no place for {', '.join(rest[:NAMED])}{more}")
