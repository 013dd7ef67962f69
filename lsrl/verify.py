"""Every legal schedule of a program on every backend, held against the reference.

Errors are relative RMS, sqrt(mean |found - wanted|^2 / mean |wanted|^2), of every array by itself.  The scale of an
array that is much smaller than its neighbours is a hundredth of theirs: a gradient that is a difference of large
numbers has no more digits than these.

Data of 16 bits do not say what is right to more digits than they have.  So an array may also be off by as much as it
changes when every number of the data is rounded a few times more: what is stored between one operation and the next is
rounded as they are (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 1.6: forward error is at
most condition times backward error).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsrl import stages
from lsrl.backends.arrays import Array
from lsrl.backends.topology import Topology
from lsrl.compiled import Compiled
from lsrl.compiling import compile_program
from lsrl.ir.cell import GRAPH, TIME, Cell
from lsrl.ir.fault import Refusal
from lsrl.ir.schedules.how import Chunk, How, Newton, Tiles, Tree
from lsrl.ir.schedules.legal import GRAPH_HOWS, GRID_HOWS, Possible
from lsrl.program import Program
from lsrl.random_arrays import Drawn, random_arrays, random_weights, small_sizes
from lsrl.random_graphs import random_graph_arrays
from lsrl.schedule import Directive, Schedule

TARGETS = ("jax", "torch", "triton", "cpu")
"""JAX; PyTorch without kernels; PyTorch with kernels, on a GPU or interpreted; PyTorch with loops in C."""
DTYPES = ("float64", "float32", "bfloat16")
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-2}
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""The largest relative error of rounding to 16 bits."""
ROUNDINGS = 8
"""How many more roundings of its data a result of 16 bits may be off by."""
DRAWS = 4
"""How many are tried: which of two numbers is larger changes with some roundings, and with others not."""
BATCH, LENGTH = 2, 37
SIDES = (5, 7, 3, 2)  # of grids: odd and different, so that no axes can be confused
PIECE = 16  # positions of a chunk or window: the length is no multiple of it
NEIGHBOURS = 0.01
SOFT = 0.5  # of parameters and inputs, so that gates are open and nothing explodes

Named = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Row:
    """One schedule on one target in one precision.

    Attributes:
        outputs, state, gradients: the largest relative RMS error of an array of each sort.
        worst: the array that is furthest off, next to what is allowed of it.
        tolerance: what is allowed of that one.
        holds: whether no array is off by more than is allowed.
    """

    schedule: str
    target: str
    dtype: str
    outputs: float
    state: float
    gradients: float
    worst: str
    tolerance: float
    holds: bool


@dataclass(frozen=True)
class Case:
    """A program with arrays to run it on; see `case`.

    Attributes:
        told: batch and length, for programs that no input tells them.
    """

    program: Program
    sizes: Mapping[str, int]
    arrays: Drawn
    told: Mapping[str, Any]

    @property
    def cell(self) -> Cell:
        return self.program.cell(self.sizes)


def case(
    program: Program,
    sizes: Mapping[str, int] | None = None,
    batch: int = BATCH,
    length: int = LENGTH,
    seed: int = 0,
    graph: Topology | None = None,
) -> Case:
    """A program with random arrays; sizes that are not given and have no default are small and different.

    Args:
        length: over a graph, the number of nodes of a random one.
        graph: what a program over a graph runs on instead.
    """
    cell, bound = program.bind(small_sizes(program.graph, sizes or {}))
    if cell.axes == (GRAPH,):
        params, inputs, state = random_graph_arrays(cell, bound, length, seed, graph)
        length = length if graph is None else graph.nodes
        return Case(program, bound, (_soft(params), _soft(inputs), state), {"length": length})
    lengths = length if cell.axes == (TIME,) else SIDES[: len(cell.axes)]
    params, inputs, state = random_arrays(cell, bound, batch, lengths, seed)
    told = {} if cell.inputs else {"batch": batch, "length": lengths}
    return Case(program, bound, (_soft(params), _soft(inputs), state), told)


def _soft(arrays: Named) -> dict[str, Array]:
    return {name: SOFT * array if array.dtype.kind in "fc" else array for name, array in arrays.items()}


def candidates(found: Sequence[Possible], hows: Sequence[How] | None = None) -> tuple[Schedule, ...]:
    """Schedules that between them run every recurrence in every legal way; the first legal one stands for others."""
    wanted = hows or tuple(map(_in_pieces, dict.fromkeys([*GRID_HOWS, *GRAPH_HOWS])))
    rows = (tuple(how if each.verdict(how).legal else each.legal[0] for each in found) for how in wanted)
    names = [each.names for each in found]
    return tuple(Schedule(tuple(map(Directive, names, row))) for row in dict.fromkeys(rows))


def _in_pieces(how: How) -> How:
    """A schedule with chunks, windows or tiles so small that there are several."""
    match how:
        case Chunk():
            return Chunk(PIECE)
        case Newton():
            return Newton(PIECE)
        case Tiles():
            return Tiles(2)
        case Tree():
            return Tree(2)
        case _:
            return how


def verify(
    given: Case,
    targets: Sequence[str] = TARGETS,
    dtypes: Sequence[str] = DTYPES,
    hows: Sequence[How] | None = None,
    tolerances: Mapping[str, float] = TOLERANCES,
) -> Iterator[Row]:
    """Each schedule on each target in each precision, as they are done.

    Args:
        hows: the schedules to try; None for all.

    Raises:
        Refusal: a target cannot hold the program.
    """
    for target in targets:
        framework = "triton" if target == "torch" else target
        found = stages.made(given.cell, given.sizes, framework).recurrences
        for dtype in dtypes:
            arrays = _rounded(given.arrays, dtype)
            wanted, weights = reference(given, arrays, dtype)
            allowed = allowances(given, arrays, weights, wanted, tolerances[dtype], ROUNDING.get(dtype))
            for schedule in candidates(found, hows):
                compiled = compile_program(given.program, framework, given.sizes, str(schedule), dtype)
                results = _results(_placed(compiled, target), arrays, weights, given.told)
                yield _row(schedule, target, dtype, _errors(results, wanted), allowed)


def _placed(compiled: Compiled, target: str) -> Compiled:
    """Without kernels where they are not wanted."""
    if target == "torch":
        compiled.engine.module.INTERPRETED = False  # type: ignore[attr-defined]
    return compiled


Results = tuple[Named, Named, Named]
"""Outputs, final states and gradients, by name."""


def reference(given: Case, arrays: Drawn, dtype: str) -> tuple[Results, Named]:
    """What is right, and the weights of what is derived."""
    compiled = compile_program(given.program, "reference", given.sizes)
    result = compiled(*arrays, **given.told)
    weights = random_weights({**result.outputs, **{f"state.{name}": a for name, a in result.state.items()}})
    narrow = {name: rounded(array, dtype) for name, array in weights.items()}
    return _results(compiled, arrays, narrow, given.told), narrow


def _results(compiled: Compiled, arrays: Drawn, weights: Named, told: Mapping[str, Any]) -> Results:
    result = compiled(*arrays, **told)
    gradients = compiled.gradients(*arrays, weights, **told)
    to_numpy = compiled.engine.to_numpy
    derived = {**gradients.inputs, **gradients.params, **{f"state.{n}": a for n, a in gradients.state.items()}}
    return _numbers(result.outputs, to_numpy), _numbers(result.state, to_numpy), _numbers(derived, to_numpy)


def _numbers(arrays: Mapping[str, Any], to_numpy: Any) -> dict[str, Array]:
    return {name: to_numpy(array) for name, array in arrays.items()}


SORTS = ("output", "state", "gradient")


def _errors(found: Results, wanted: Results) -> dict[str, float]:
    """The relative error of every array, by its sort and name."""
    sorts = zip(SORTS, found, wanted, strict=True)
    return {f"{sort} {n}": error for sort, *pair in sorts for n, error in relative_errors(*pair).items()}


def allowances(
    given: Case, arrays: Drawn, weights: Named, wanted: Results, tolerance: float, rounding: float | None = None
) -> dict[str, float]:
    """What is allowed of every array, by its sort and name: the tolerance, or what roundings change where that is more.

    Args:
        weights, wanted: as `reference` gives them.
        rounding: the largest relative error of a number of the data; None where they are taken to be exact.
    """
    if rounding is None:
        return dict.fromkeys(_errors(wanted, wanted), tolerance)
    compiled = compile_program(given.program, "reference", given.sizes)
    allowed = dict.fromkeys(_errors(wanted, wanted), tolerance)
    for seed in range(DRAWS):
        draw = np.random.default_rng(seed)
        params, inputs, state = ({name: _moved(a, rounding, draw) for name, a in group.items()} for group in arrays)
        changes = _errors(_results(compiled, (params, inputs, state), weights, given.told), wanted)
        finite = {name: ROUNDINGS * change for name, change in changes.items() if np.isfinite(change)}
        allowed |= {name: max(allowed[name], change) for name, change in finite.items()}
    return allowed


def _moved(array: Array, rounding: float, draw: np.random.Generator) -> Array:
    """Every number by no more than its rounding."""
    return array * (1 + rounding * draw.uniform(-1, 1, array.shape)) if array.dtype.kind in "fc" else array


def _row(schedule: Schedule, target: str, dtype: str, errors: Mapping[str, float], allowed: Mapping[str, float]) -> Row:
    def largest(sort: str) -> float:
        return max((error for name, error in errors.items() if name.startswith(sort)), default=0.0)

    outputs, state, gradients = map(largest, SORTS)
    worst = max(errors, key=lambda name: errors[name] / allowed[name], default="")
    holds = all(error <= allowed[name] for name, error in errors.items())
    return Row(str(schedule), target, dtype, outputs, state, gradients, worst, allowed.get(worst, 0.0), holds)


def relative_errors(found: Named, wanted: Named) -> dict[str, float]:
    """The relative RMS error of each array; infinite where shapes, whole numbers or what is not finite differ."""
    if found.keys() != wanted.keys():
        raise Refusal(f"{', '.join(sorted(found.keys() ^ wanted.keys()))} is missing in one of the two results")
    largest = max((_rms(array) for array in wanted.values() if array.dtype.kind in "fc"), default=0.0)
    return {name: _relative_error(found[name], array, NEIGHBOURS * largest) for name, array in wanted.items()}


def _relative_error(found: Array, wanted: Array, least: float) -> float:
    if found.shape != wanted.shape:
        return np.inf
    if wanted.dtype.kind not in "fc":
        return 0.0 if np.array_equal(found, wanted) else np.inf
    finite = np.isfinite(wanted)
    if not np.array_equal(np.where(finite, 0, found), np.where(finite, 0, wanted), equal_nan=True):
        return np.inf
    differences = np.where(finite, found, 0) - np.where(finite, wanted, 0)
    if not np.all(np.isfinite(differences)):
        return np.inf
    error = _rms(differences)
    scale = max(_rms(np.where(finite, wanted, 0)), least)
    return error / scale if scale else error


def _rms(array: Array) -> float:
    """Root mean square of what is finite."""
    finite = np.where(np.isfinite(array), array, 0)
    return float(np.sqrt(np.mean(np.abs(finite) ** 2))) if array.size else 0.0


def _rounded(arrays: Drawn, dtype: str) -> Drawn:
    params, inputs, state = ({name: rounded(a, dtype) for name, a in group.items()} for group in arrays)
    return params, inputs, state


def rounded(array: Array, dtype: str) -> Array:
    """An array of float64 or complex numbers rounded to what a precision can hold, as float64 or complex128 again."""
    if array.dtype.kind == "c":
        return array if dtype == "float64" else array.astype(np.complex64).astype(np.complex128)
    if array.dtype.kind != "f" or dtype == "float64":
        return array
    if dtype != "bfloat16":
        return array.astype(dtype).astype(np.float64)
    bits = array.astype(np.float32).view(np.uint32)
    even = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    return ((bits + even) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
