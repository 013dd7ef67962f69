"""What a compiled program is called with: checked by shape, whatever framework the arrays are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lsrl.backends.arrays import Array, ArrayError, validate
from lsrl.backends.initialise import draw_noise
from lsrl.backends.result import Result
from lsrl.graph_runs import is_over_graph, with_edges
from lsrl.ir.cell import Cell
from lsrl.ir.value import postorder

Named = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arrays of one run, checked; noises that were not given are drawn.

    Attributes:
        extent: batch and length, `B` and `T` (grids: each axis in capitals; graphs: nodes, edges, turns).
    """

    params: Named
    inputs: Named
    state: Named
    extent: Mapping[str, int]

    def with_inputs(self, inputs: Named) -> Arguments:
        """The same with other inputs."""
        return replace(self, inputs=inputs)


def checked(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Named,
    inputs: Named,
    state: Named | None,
    seed: int,
    told: Mapping[str, int | None],
) -> Arguments:
    """The arguments of a run; `told` has what no array tells, None for the rest.

    Raises:
        ArrayError: an array is missing, superfluous or ill-shaped.
    """
    state, inputs = state or {}, with_edges(cell, inputs)
    known = {name: number for name, number in told.items() if number is not None}
    extent = validate(cell, sizes, _stand_ins(params), _stand_ins(inputs), _stand_ins(state), known)
    missing = replace(cell, noises=tuple(noise for noise in cell.noises if noise.name not in inputs))
    drawn = draw_noise(missing, sizes, extent, seed, _needed(missing, params)) if missing.noises else {}
    return Arguments(params, {**inputs, **drawn}, state, extent)


def told_extent(cell: Cell, batch: int | None, length: int | Sequence[int] | None) -> dict[str, int | None]:
    """What a run is told, by the names of `lsrl.backends.arrays.validate`; over a graph `length` counts the nodes.

    Raises:
        ArrayError: the lengths are not one for each axis.
    """
    if is_over_graph(cell):
        return {"nodes": length if isinstance(length, int) else None}
    lengths = [length] * (length is not None) if not isinstance(length, Sequence) else [*length]
    if lengths and len(lengths) != len(cell.axes):
        raise ArrayError(f"{cell.name} runs over {', '.join(cell.axes)}; {len(lengths)} lengths were given")
    return {"B": batch, **{axis.upper(): number for axis, number in zip(cell.axes, lengths)}}


def named_inputs(cell: Cell, ordered: Sequence[Any], named: Named) -> tuple[dict[str, Any], dict[str, int]]:
    """The inputs by name, and batch and length for a program that has none.

    Args:
        ordered: inputs in the order of declaration, or one mapping of all.
        named: further inputs, or `batch` and `length`.

    Raises:
        ArrayError: there are more than the program has.
    """
    declared = [each.name for each in cell.inputs]
    match ordered:
        case [Mapping() as every]:
            given = {**every, **named}
        case _ if len(ordered) <= len(declared):
            given = {**dict(zip(declared, ordered, strict=False)), **named}
        case _:
            names = ", ".join(declared) or "none"
            raise ArrayError(f"{cell.name} has the inputs {names}; {len(ordered)} were given")
    extent = {} if declared else {name: given.pop(name) for name in ("batch", "length") if name in given}
    return given, extent


def without_noises(cell: Cell, inputs: Named) -> Cell:
    """The cell without the noises that are not among the inputs, to check arguments by."""
    return replace(cell, noises=tuple(noise for noise in cell.noises if noise.name in inputs))


def check_cotangents(result: Result, cotangents: Named | None) -> None:
    """Refuse cotangents of what the run did not give.

    Raises:
        ArrayError: a name is neither an output nor `state.NAME`, or a shape differs.
    """
    wanted = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
    for name, array in (cotangents or {}).items():
        if name not in wanted:
            raise ArrayError(f"there is no output {name} to have a cotangent; there are {', '.join(wanted)}")
        expected, found = tuple(wanted[name].shape), np.shape(array)
        if expected != found:
            raise ArrayError(f"cotangent {name}: expected {list(expected)}, found {list(found)}")


def at_one_position(inputs: Named) -> dict[str, Array]:
    """Arrays shaped as sequences of length one, to check inputs [B, *shape] of a step by."""
    return {name: np.broadcast_to(a[:, None], (*a.shape[:1], 1, *a.shape[1:])) for name, a in _batched(inputs)}


def _batched(inputs: Named) -> list[tuple[str, Array]]:
    stands = _stand_ins(inputs)
    for name, array in stands.items():
        if not array.ndim:
            raise ArrayError(f"input {name}: expected a batch, found a number")
    return list(stands.items())


def _stand_ins(arrays: Named) -> dict[str, Array]:
    return {name: _stand_in(array) for name, array in arrays.items()}


def _stand_in(array: Any) -> Array:
    """A NumPy array itself; for others an array of the same shape and kind that holds no elements.

    Arrays that are traced, or on another device, can be asked for nothing else.
    """
    if not hasattr(array, "dtype") or isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    name = str(array.dtype).removeprefix("torch.")
    kinds = {"complex": np.complex64, "bool": np.bool_, "int": np.int64, "uint": np.int64}
    dtype = next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), np.float32)
    return np.broadcast_to(np.zeros((), dtype), tuple(array.shape))


def _needed(cell: Cell, params: Named) -> dict[str, Array]:
    """The params, where distributions of noise depend on any."""
    drawn = postorder(arg for noise in cell.noises for arg in noise.draw.args)
    depends = any(value.op == "param" for value in drawn)
    return {name: np.asarray(array) for name, array in params.items()} if depends else {}
