"""A row of the library's table: a program, and an implementation of it that was not written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

import lsrl
from lsrl.backends.arrays import Array
from lsrl.backends.topology import make_topology
from lsrl.ir.cell import GRAPH, TIME, Cell
from lsrl.ir.dims import Shape
from lsrl.ir.value import Domain
from lsrl.random_arrays import random_array, random_arrays
from lsrl.verify import SIDES, SOFT, relative_errors

B, T = 2, 7
NODES = 7
EDGES = np.array([(4, 0), (0, 3), (4, 3), (0, 2), (3, 2), (3, 1), (2, 1), (4, 1), (5, 2), (6, 3), (6, 5)])
"""A directed acyclic graph whose numbering is not its order, with several sources and one sink."""
Tensors = dict[str, torch.Tensor]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Given:
    """What an implementation is given: tensors in float64, laid out as the program's own arrays.

    Attributes:
        params: [*shape] by name.
        inputs: [B, T, *shape] by name, noises among them; over a grid [B, *sides, *shape]; over a graph [nodes, *shape]
            and so on, with `edges` [E, 2] and `turns` [n, 2].
        state: initial states [B, *shape] by name, over a grid [B, *sides of the other axes, *shape]; empty where a row
            starts as the program says, and over a graph.
        sizes: numbers of the program's sizes.
    """

    params: Tensors
    inputs: Tensors
    state: Tensors
    sizes: Mapping[str, int]

    @property
    def length(self) -> int:
        return T


@dataclass(frozen=True)
class Row:
    """A program of the library, and who says what it computes.

    Attributes:
        program: its name below `std/`.
        sizes: small numbers for its sizes, odd and different from each other.
        reference: the implementation, for people: "torch.nn.GRU", "fla.ops.gla.naive", "closed form: …".
        peer: that implementation: outputs, laid out as inputs are, by name and, where it tells them, last states as
            "state.NAME".  It computes in torch and is differentiated by it, so it must be differentiable in everything
            it is given.
        ranges: what makes valid values of normal draws, by the name of an input, param or state: `negative`, `unit`, …
        starts: whether the implementation takes initial states; if not, states start as the program says.
        fixed: names of params whose values the implementation holds itself: `ranges` makes them these.
        flat: names that the results do not depend on, or whose derivative is zero.
        slip: where a published implementation differs from its paper, and which of the two the row holds to.
    """

    program: str
    sizes: Mapping[str, int]
    reference: str
    peer: Callable[[Given], Tensors]
    ranges: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    starts: bool = True
    fixed: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()
    slip: str = ""

    @property
    def name(self) -> str:
        return f"std/{self.program}"


@dataclass(frozen=True)
class Errors:
    """Relative RMS errors, the largest of any array of each sort."""

    values: float
    gradients: float


Drawn = tuple[Arrays, Arrays, Arrays]


def draw(row: Row, batch: int = B, length: int = T, *, started: bool = False, seed: int = 0) -> Drawn:
    """Params, inputs and initial states that are valid for a row's program; `started` even where no peer takes them.

    A grid has the sides of `lsrl.verify`, whatever `length` is, and a graph has no batch.
    """
    cell, sizes = lsrl.load(row.name).bind(row.sizes)
    if cell.axes == (GRAPH,):
        params, inputs, state = _on_a_graph(cell, sizes, seed)
    else:
        params, inputs, state = random_arrays(cell, sizes, batch, lengths(cell, length), seed)
    unknown = set(row.ranges) - {*params, *inputs, *state}
    assert not unknown, f"{row.name} has no {', '.join(sorted(unknown))}"
    return _valid(row, params), _valid(row, inputs), _valid(row, state) if row.starts or started else {}


def lengths(cell: Cell, length: int) -> int | tuple[int, ...]:
    """The lengths that a row is measured on: of a grid the sides of `lsrl.verify`, whatever `length` is."""
    return length if cell.axes == (TIME,) else SIDES[: len(cell.axes)]


def _on_a_graph(cell: Cell, sizes: Mapping[str, int], seed: int) -> Drawn:
    generator = np.random.default_rng(seed)
    topology = make_topology(NODES, EDGES)

    def numbers(shape: Shape, domain: Domain) -> tuple[int, ...]:
        lead = () if domain is Domain.NONE else (topology.count(domain),)
        return (*lead, *(dim.evaluate(sizes) for dim in shape))

    params = {p.name: random_array(generator, numbers(p.shape, Domain.NONE), p.kind) for p in cell.params}
    bounds = {i.name: None if i.bound is None else i.bound.evaluate(sizes) for i in cell.inputs}
    drawn = {i.name: random_array(generator, numbers(i.shape, i.domain), i.kind, bounds[i.name]) for i in cell.inputs}
    return params, {**drawn, "edges": topology.edges, "turns": topology.turns}, {}


def _valid(row: Row, arrays: Mapping[str, Array]) -> Arrays:
    return {name: row.ranges.get(name, soft)(array) for name, array in arrays.items()}


def soft(array: Array) -> Array:
    """Numbers of moderate size, so that gates are open and nothing explodes."""
    return SOFT * array if array.dtype.kind in "fc" else array


def negative(array: Array) -> Array:
    """Logarithms of decays."""
    return -np.abs(array)


def unit(array: Array) -> Array:
    """Numbers between 0 and 1: decays, rates."""
    return np.asarray(1 / (1 + np.exp(-array)))


def positive(array: Array) -> Array:
    """Positive numbers that are not near 0."""
    return np.abs(array) + 0.1


def measure(row: Row) -> Errors:
    """Hold a program's reference, values and gradients, against the row's implementation, on random arrays."""
    groups = draw(row)
    leaves = [{name: torch.tensor(array) for name, array in group.items()} for group in groups]
    smooth = {
        (place, name): tensor.requires_grad_()
        for place, group in enumerate(leaves)
        for name, tensor in group.items()
        if name not in row.fixed and (tensor.dtype.is_floating_point or tensor.dtype.is_complex)
    }
    results = row.peer(Given(*leaves, row.sizes))
    weights = _weights({name: tensor.detach().numpy() for name, tensor in results.items()})
    wanted = _derivatives(results, weights, smooth, row.flat)

    program = lsrl.load(row.name)
    fn = lsrl.compile(program, target="reference", sizes=row.sizes)
    told = {} if groups[1] else {"batch": B, "length": lengths(program.cell(row.sizes), T)}
    found = fn(*groups, **told)
    ours = {**found.outputs, **{f"state.{name}": array for name, array in found.state.items()}}
    missing = set(found.outputs) - set(results)
    assert not missing, f"the implementation of {row.name} does not tell {', '.join(sorted(missing))}"
    values = relative_errors(
        {name: np.asarray(ours[name]) for name in results},
        {name: tensor.detach().numpy() for name, tensor in results.items()},
    )
    gradients = fn.gradients(*groups, weights, **told)
    parts = (gradients.params, gradients.inputs, gradients.state)
    derived = relative_errors({f"{key}": np.asarray(parts[key[0]][key[1]]) for key in smooth}, wanted)
    return Errors(max(values.values()), max(derived.values(), default=0.0))


def _weights(results: Mapping[str, Array]) -> Arrays:
    """Cotangents of everything that an implementation tells."""
    generator = np.random.default_rng(1)
    return {
        name: generator.normal(size=array.shape)
        + (1j * generator.normal(size=array.shape) if array.dtype.kind == "c" else 0)
        for name, array in results.items()
        if array.dtype.kind in "fc"
    }


def _derivatives(
    results: Tensors, weights: Arrays, smooth: Mapping[tuple[int, str], torch.Tensor], flat: Iterable[str]
) -> Arrays:
    """The implementation's gradients.  Those that are zero must be known to be: a test of them could not fail."""
    pairs = [(results[name], torch.tensor(weight)) for name, weight in weights.items() if results[name].requires_grad]
    tensors, cotangents = zip(*pairs)
    gradients = torch.autograd.grad(tensors, list(smooth.values()), cotangents, allow_unused=True)
    arrays = {
        key: np.zeros(tuple(smooth[key].shape)) if gradient is None else gradient.resolve_conj().numpy()
        for key, gradient in zip(smooth, gradients)
    }
    zero = {name for (_, name), array in arrays.items() if np.abs(array).max() < 1e-9}
    assert zero == set(flat), f"derivatives that are zero: {zero}; known to be: {set(flat)}"
    return {f"{key}": array for key, array in arrays.items()}
