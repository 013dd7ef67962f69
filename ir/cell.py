"""A cell: one time step (or one position of a grid or graph) as a graph, with its declarations.

Everything a backend needs is here.  The step is a DAG: states are leaves, and `State.next` names the value that each
becomes.  Composition has already happened: cells used inside cells, heads, repetition, lags and resets are part of
the graph (a lag is a hidden state, a reset a `where` on the arriving state).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lsrl.ir.dims import Dim, DimError, Shape
from lsrl.ir.span import Span
from lsrl.ir.value import Domain, Kind, Value

TIME = "t"
GRAPH = "graph"


@dataclass(frozen=True, slots=True)
class Size:
    """A size the user gives when compiling, or its default."""

    name: str
    default: Dim | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """An array given for every position.

    `bound`: for int inputs, values lie in 0..bound-1.  `domain`: where it lives in a cell over a graph.
    """

    name: str
    shape: Shape
    kind: Kind = Kind.FLOAT
    bound: Dim | None = None
    domain: Domain = Domain.NONE


@dataclass(frozen=True, slots=True)
class Distribution:
    """How to draw an array: a `name` of `DISTRIBUTIONS` and its arguments, static scalar values.

    The name "value" has one argument, the array itself (of the declared shape, or a scalar to repeat).
    """

    name: str
    args: tuple[Value, ...] = ()


DISTRIBUTIONS: Mapping[str, tuple[int, ...]] = {
    "value": (1,),
    "uniform": (1, 2),  # (a): -a to a; (low, high)
    "normal": (0, 1, 2),  # (standard deviation), (mean, standard deviation)
    "bernoulli": (1,),  # (probability of 1)
    "glorot": (0,),  # Glorot and Bengio 2010, uniform, on the last two axes
    "orthogonal": (0, 1),  # Saxe et al. 2014, on the last two axes; (gain)
    "eye": (0, 1),  # identity on the last two axes; (scale)
    "log_uniform": (2,),  # exponential of a uniform between the logarithms of (low, high)
}


@dataclass(frozen=True, slots=True)
class Param:
    """A learned array, the same at every position."""

    name: str
    shape: Shape
    kind: Kind
    init: Distribution


@dataclass(frozen=True, slots=True)
class Noise:
    """A random array drawn anew at every position; an input that is drawn when it is not given."""

    name: str
    shape: Shape
    draw: Distribution
    domain: Domain = Domain.NONE


@dataclass(frozen=True, slots=True)
class State:
    """A value carried from position to position.

    Attributes:
        axes: the axes it travels along; the leaf `state` of each reads the neighbour one step back on that axis.
        reverse: the axes of the cell on which what it belongs to runs from the end to the start, those included that
            the state itself does not travel along.
        init: its value before the start: a static value (params, constants, sizes) of the same shape.
        next: the value that this position passes on.
        hidden: not declared by the user: a lag's memory.
    """

    name: str
    shape: Shape
    kind: Kind
    axes: tuple[str, ...]
    init: Value
    next: Value
    reverse: frozenset[str] = frozenset()
    domain: Domain = Domain.NONE
    hidden: bool = False

    @property
    def backward(self) -> frozenset[str]:
        """The axes that it travels along from the end to the start."""
        return self.reverse.intersection(self.axes)


@dataclass(frozen=True, slots=True)
class Output:
    """A value given out at every position."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition on the sizes that only numbers can decide: `dim` >= 0."""

    dim: Dim
    message: str
    span: Span | None = None


@dataclass(frozen=True)
class Cell:
    """A program's step with all declarations; see the module's docstring.

    Attributes:
        axes: `("t",)`, the axes of a grid, or `("graph",)`.
        heads: the size of the leading axis of the user's `heads`, for reports; the graph holds it explicitly.
        names: the user's name for a value, where it has one (innermost scope last, dotted).
        spans: the places of the program that a value stands for.
    """

    name: str
    doc: str
    sizes: tuple[Size, ...]
    axes: tuple[str, ...]
    inputs: tuple[Input, ...]
    params: tuple[Param, ...]
    noises: tuple[Noise, ...]
    states: tuple[State, ...]
    outputs: tuple[Output, ...]
    heads: Dim | None = None
    requires: tuple[Requirement, ...] = ()
    names: Mapping[Value, str] = field(default_factory=dict, compare=False)
    spans: Mapping[Value, tuple[Span, ...]] = field(default_factory=dict, compare=False)

    def state(self, name: str) -> State:
        """The state `name`; KeyError when there is none."""
        for state in self.states:
            if state.name == name:
                return state
        raise KeyError(name)

    def roots(self) -> Iterator[Value]:
        """Every value that is computed for its own sake at each position: outputs, then next states."""
        yield from (output.value for output in self.outputs)
        yield from (state.next for state in self.states)

    def all_roots(self) -> Iterator[Value]:
        """`roots`, and the values computed once: initial states and the arguments of distributions."""
        yield from self.roots()
        yield from (state.init for state in self.states)
        for drawn in (*(p.init for p in self.params), *(n.draw for n in self.noises)):
            yield from drawn.args


def bind_sizes(cell: Cell, given: Mapping[str, int]) -> dict[str, int]:
    """The number of every size, checked: see `size_numbers` and `check_sizes`.

    Raises:
        DimError: a size is missing, unknown, negative, or breaks a requirement of the program.
    """
    bound = size_numbers(cell, given)
    check_sizes(cell, bound)
    return bound


def size_numbers(cell: Cell, given: Mapping[str, int]) -> dict[str, int]:
    """The number of every size: the given ones, else defaults (which may use earlier sizes).

    Raises:
        DimError: a size is missing, unknown or negative.
    """
    known = {size.name for size in cell.sizes}
    unknown = sorted(set(given) - known)
    if unknown:
        raise DimError(
            f"{cell.name} has no size {', '.join(unknown)}; its sizes are {', '.join(sorted(known)) or 'none'}"
        )
    bound: dict[str, int] = {}
    for size in cell.sizes:
        if size.name not in given and size.default is None:
            raise DimError(f"{cell.name} needs a value for the size {size.name}")
        bound[size.name] = given[size.name] if size.name in given else size.default.evaluate(bound)  # type: ignore[union-attr]
        if bound[size.name] < 0:
            raise DimError(f"the size {size.name} is {bound[size.name]}; sizes are not negative")
    return bound


def meets_sizes(cell: Cell, numbers: Mapping[str, int]) -> bool:
    """Whether numbers of all sizes fit the requirements of the program."""
    try:
        return all(requirement.dim.evaluate(numbers) >= 0 for requirement in cell.requires)
    except DimError:
        return False


def check_sizes(cell: Cell, numbers: Mapping[str, int]) -> None:
    """Hold numbers of all sizes against the requirements of the program.

    Raises:
        DimError: they break one.
    """
    for requirement in cell.requires:
        if requirement.dim.evaluate(numbers) < 0:
            raise DimError(requirement.message)
