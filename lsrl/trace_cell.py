"""Cells written in Python: declarations and updates on traced values, `build()` at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lsrl.elaborate.functions_arrays import fitted
from lsrl.elaborate.places import moved
from lsrl.elaborate.resets import with_reset
from lsrl.ir import build, ops
from lsrl.ir.batching import with_heads
from lsrl.ir.build import Diag
from lsrl.ir.cell import DISTRIBUTIONS, GRAPH, TIME, Cell, Distribution, Input, Noise, Output, Param, Size, State
from lsrl.ir.dims import Dim, Shape, shape_text
from lsrl.ir.inline import Place, instantiate
from lsrl.ir.requirements import requirements
from lsrl.ir.value import Domain, Kind, Value
from lsrl.ir.verify import check
from lsrl.traced import Operand, SizeLike, Traced, TraceError, attempt, made, size, value

Sizes = Sequence[str] | Mapping[str, SizeLike | None]


@dataclass(frozen=True)
class Draw:
    """How to draw a parameter or a noise: `uniform(1 / sqrt(D))`, `normal(0.02)`."""

    name: str
    args: tuple[Value, ...]


class TracedState(Traced):
    """A state: itself the value that arrives, `.next` the one that is passed on once `cell.next` has said it.

    A state along several axes arrives along each: `state.along("y")`.
    """

    def __init__(self, name: str, arriving: Mapping[str, Value], updates: Mapping[str, Value]) -> None:
        super().__init__(next(iter(arriving.values())))
        self.name = name
        self._arriving = arriving
        self._updates = updates

    @property
    def term(self) -> Value | Diag:
        if len(self._arriving) > 1:
            ways = " or ".join(f'{self.name}.along("{axis}")' for axis in self._arriving)
            raise TraceError(f"the state {self.name} arrives along several axes: say {ways}")
        return super().term

    def along(self, axis: str) -> Traced:
        """The value that arrives along an axis."""
        if axis not in self._arriving:
            raise TraceError(f"the state {self.name} travels along {', '.join(self._arriving)}, not along {axis}")
        return Traced(self._arriving[axis])

    @property
    def next(self) -> Traced:
        if self.name not in self._updates:
            raise TraceError(f"the state {self.name} has no next value yet: call cell.next({self.name}, ...) first")
        return Traced(self._updates[self.name])


@dataclass
class TracedCell:
    """A cell under construction; `lsrl.trace.cell` makes one.

    Shapes are given as sizes after the name: `param("W", "H", "2*D")`.  Names are those of program text: unique among
    inputs, params, noises and states.
    """

    label: str
    doc: str
    sizes: tuple[Size, ...]
    axes: tuple[str, ...]
    heads: Dim | None
    _inputs: list[Input] = field(default_factory=list)
    _pads: dict[Value, Value] = field(default_factory=dict)
    _params: list[Param] = field(default_factory=list)
    _noises: list[Noise] = field(default_factory=list)
    _states: list[State] = field(default_factory=list)
    _lags: dict[tuple[Value, str], list[State]] = field(default_factory=dict)
    _next: dict[str, Value] = field(default_factory=dict)
    _outputs: list[Output] = field(default_factory=list)
    _names: dict[Value, str] = field(default_factory=dict)
    _shared: set[str] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)
    _reset: Value | None = None

    def size(self, name: str) -> Traced:
        """A size of the cell, or an expression of sizes, as a number."""
        return made(lambda: ops.size(size(name)))

    def input(
        self,
        name: str,
        *shape: SizeLike,
        kind: str = "float",
        bound: SizeLike | None = None,
        pad: Operand | None = None,
        domain: str = "",
        shared: bool = False,
    ) -> Traced:
        """An array given for every position.

        Args:
            kind: `float`, `complex`, `int` or `bool`; `bound`: ints lie in 0..bound-1.
            pad: what `lag` reads before the start, 0 if nothing is said.
            domain: `node`, `edge` or `turn` in a cell over a graph.
            shared: without an axis of heads.
        """
        self._take(name, shared)
        dims, limit = self._shape(shape), size(bound) if bound is not None else None
        self._inputs.append(Input(name, dims, Kind(kind), limit, Domain(domain)))
        leaf = ops.leaf("input", name, dims, Kind(kind), Domain(domain))
        if pad is not None:
            self._pads[leaf] = fitted(value(pad), Kind(kind))
        return self._named(leaf, name)

    def param(
        self, name: str, *shape: SizeLike, kind: str = "float", init: Draw | Operand | None = None, shared: bool = False
    ) -> Traced:
        """A learned array; `init` is drawn (`trace.normal(0.02)`), a value, or uniform by the last axis."""
        self._take(name, shared)
        dims = self._shape(shape)
        self._params.append(Param(name, dims, Kind(kind), _initial(init, dims, Kind(kind))))
        return self._named(ops.leaf("param", name, dims, Kind(kind)), name)

    def noise(self, name: str, *shape: SizeLike, draw: Draw, domain: str = "", shared: bool = False) -> Traced:
        """A random array drawn anew at every position."""
        self._take(name, shared)
        dims = self._shape(shape)
        self._noises.append(Noise(name, dims, _distribution(draw), Domain(domain)))
        return self._named(ops.leaf("noise", name, dims, Kind.FLOAT, Domain(domain)), name)

    def state(
        self,
        name: str,
        *shape: SizeLike,
        kind: str = "float",
        init: Operand = 0,
        along: str | Sequence[str] = (),
        domain: str = "",
        reverse: bool | str | Sequence[str] = False,
        shared: bool = False,
    ) -> TracedState:
        """A value carried along one or several axes; the only one of the cell if `along` is not given.

        `reverse` says on which axes from the end to the start; True is on all.
        """
        self._take(name, shared)
        axes = ((along,) if isinstance(along, str) else tuple(along)) or self.axes
        if not set(axes) <= set(self.axes) or (not along and len(self.axes) > 1):
            raise TraceError(f"along which of {', '.join(self.axes)} does the state {name} travel? Give along=...")
        dims, of_kind, place = self._shape(shape), Kind(kind), Domain(domain)
        start = made(lambda: build.full(dims, fitted(value(init), of_kind))).value
        self._states.append(State(name, dims, of_kind, axes, start, start, self._turned(reverse), place))
        arriving = {axis: ops.state(name, axis, dims, of_kind, place) for axis in axes}
        for axis, leaf in arriving.items():
            self._named(leaf, name if len(axes) == 1 else f"{name}[{axis}-1]")
        return TracedState(name, arriving, self._next)

    def name(self, label: str, of: Operand) -> Traced:
        """The value itself, called `label` in listings, pictures and emitted code."""
        return self._named(value(of), label)

    def next(self, state: TracedState, following: Operand) -> Traced:
        """Say what a state passes on."""
        declared = next(s for s in self._states if s.name == state.name)
        if state.name in self._next:
            raise TraceError(f"the next value of {state.name} is given twice")
        given = made(lambda: moved(fitted(value(following), declared.kind), declared.domain)).value
        if given.shape != declared.shape:
            found, expected = shape_text(given.shape), shape_text(declared.shape)
            raise TraceError(f"the next value of {state.name} has another shape: found {found}, expected {expected}")
        self._next[state.name] = given
        return self._named(given, f"{state.name}'")

    def lag(self, of: Operand, steps: int = 1) -> Traced:
        """A value some positions back: the input's `pad`, or 0, before the start.  Needs a name, as in text."""
        source, axis = value(of), self.axes[0]
        if source not in self._names or axis == GRAPH or len(self.axes) > 1 or steps < 1:
            raise TraceError("lag reads a named value (cell.name) of a cell along one axis, at least one step back")
        start = build.full(source.shape, self._pads.get(source, build.zeros((), source.kind)))
        registers = self._lags.setdefault((source, axis), [])
        for back in range(len(registers) + 1, steps + 1):
            name = f"{self._names[source]}[{axis}-{back}]"
            before = _leaf(registers[-1]) if registers else source
            registers.append(State(name, source.shape, source.kind, (axis,), start, before, hidden=True))
            self._names[_leaf(registers[-1])] = name
        return Traced(_leaf(registers[steps - 1]))

    def reset(self, condition: Operand) -> None:
        """All states start anew before the positions where the condition holds."""
        self._reset = value(condition)

    def output(self, name: str, of: Operand) -> Traced:
        """Give a value out at every position."""
        given = value(of)
        self._outputs.append(Output(name, given))
        return self._named(given, name)

    def use(
        self, cell: Cell, *inputs: Operand, reverse: bool | str | Sequence[str] = False, **sizes: SizeLike
    ) -> tuple[Traced, ...]:
        """The outputs of another cell on these inputs; its parameters and states join this cell, named `cell.W`."""
        free = next(n for n in (cell.name, *(f"{cell.name}_{k}" for k in range(2, 1000))) if n not in self._taken)
        self._taken.add(free)
        given = {i.name: value(x) for i, x in zip(cell.inputs, inputs, strict=True)}
        numbers = {name: size(each) for name, each in sizes.items()}
        place = Place(numbers, given, f"{free}.", f"{free}.", self._turned(reverse))
        instance = instantiate(cell, place)
        self._params += instance.params
        self._noises += instance.noises
        self._states += instance.states
        self._next |= {state.name: state.next for state in instance.states}
        for each, name in instance.names.items():
            self._names.setdefault(each, name)
        return tuple(Traced(output) for output in instance.outputs.values())

    def build(self) -> Cell:
        """The cell.

        Raises:
            TraceError: a state has no next value, or there is no output.
        """
        missing = [state.name for state in self._states if state.name not in self._next]
        if missing:
            raise TraceError(f"no next value is given for the state {', '.join(missing)}: call cell.next")
        if not self._outputs:
            raise TraceError(f"the cell {self.label} has no output: call cell.output")
        cell = Cell(
            name=self.label,
            doc=self.doc,
            sizes=self.sizes,
            axes=self.axes,
            inputs=tuple(self._inputs),
            params=tuple(self._params),
            noises=tuple(self._noises),
            states=(*self._updated(), *(state for chain in self._lags.values() for state in chain)),
            outputs=tuple(self._outputs),
            names=dict(self._names),
        )
        return check(self._finished(cell))

    def _updated(self) -> tuple[State, ...]:
        return tuple(
            State(s.name, s.shape, s.kind, s.axes, s.init, self._next[s.name], s.reverse, s.domain, s.hidden)
            for s in self._states
        )

    def _turned(self, reverse: bool | str | Sequence[str]) -> frozenset[str]:
        """The axes that are run backwards."""
        if isinstance(reverse, bool):
            return frozenset(self.axes if reverse else ())
        turned = frozenset((reverse,) if isinstance(reverse, str) else reverse)
        if not turned <= set(self.axes):
            raise TraceError(f"reverse is True, or names axes of the cell: {', '.join(self.axes)}")
        return turned

    def _finished(self, cell: Cell) -> Cell:
        """With reset, heads, and what slices require of the sizes."""
        condition, heads = self._reset, self.heads
        if condition is not None:
            cell = attempt(lambda: with_reset(cell, condition, ()))
        if heads is not None:
            cell = attempt(lambda: with_heads(cell, heads, self._shared))
        return requirements(cell)

    def _take(self, name: str, shared: bool) -> None:
        if name in self._taken:
            raise TraceError(f"{name} is declared twice")
        self._taken.add(name)
        if shared:
            self._shared.add(name)

    def _shape(self, sizes: Sequence[SizeLike]) -> Shape:
        dims = tuple(size(each) for each in sizes)
        known = {declared.name for declared in self.sizes}
        unknown = sorted({name for dim in dims for name in dim.names} - known)
        if unknown:
            has = ", ".join(sorted(known)) or "none"
            raise TraceError(f"the cell {self.label} has no size {', '.join(unknown)}; its sizes are {has}")
        return dims

    def _named(self, named: Value, name: str) -> Traced:
        if named.op not in ("const", "size"):
            self._names.setdefault(named, name)
        return Traced(named)


def cell(
    name: str,
    sizes: Sizes = (),
    *,
    axes: Sequence[str] = (TIME,),
    heads: SizeLike | None = None,
    doc: str = "",
) -> TracedCell:
    """A cell to build: `sizes` are names, or names with defaults (None where there is none)."""
    given = dict(sizes) if isinstance(sizes, Mapping) else dict.fromkeys(sizes)
    declared = tuple(Size(each, size(default) if default is not None else None) for each, default in given.items())
    return TracedCell(name, doc, declared, tuple(axes), size(heads) if heads is not None else None)


def drawn(name: str, *args: Operand) -> Draw:
    """A distribution by its name in the language; `normal`, `uniform` and so on of `lsrl.trace` are this."""
    if name not in DISTRIBUTIONS or name == "value" or len(args) not in DISTRIBUTIONS[name]:
        raise TraceError(f"there is no distribution {name} with {len(args)} arguments")
    return Draw(name, tuple(value(arg) for arg in args))


def _initial(init: Draw | Operand | None, shape: Shape, kind: Kind) -> Distribution:
    match init:
        case Draw():
            return _distribution(init)
        case None:
            fan = shape[-1] if shape else Dim.of(1)
            bound = build.div(1, build.unary("sqrt", ops.size(fan))) if fan.constant != 1 else ops.const(Fraction(1))
            return Distribution("uniform", (bound,))
    given = made(lambda: fitted(value(init), kind)).value
    return Distribution("value", (given,))


def _distribution(draw: Draw) -> Distribution:
    return Distribution(draw.name, draw.args)


def _leaf(state: State) -> Value:
    return ops.state(state.name, state.axes[0], state.shape, state.kind, state.domain)
