"""The work of one position as loop nests, one after the other: which values share a nest, which need an array.

Element-wise work over the same axes shares one nest, as far as what it reads is there: an element that only its own
nest uses stays in a register.  What sums, joins or folds has a nest of its own.  Moves (slices, transposes, repeats)
are no work: whoever reads them reads the array behind them at another index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from lsrl.backends.expressions import Code, infix
from lsrl.backends.kernel_form import KernelForm, NoKernel, row_major
from lsrl.backends.native.operations import PRINTERS
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value, postorder, users

INDICES = "ijklmn"
"""The variables of a nest's loops, outermost first."""

MOVES = ("expand", "transpose", "slice", "select", "flip", "reshape")
FOLDS = ("reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all", "argmax", "argmin")
SUMS = ("einsum", "reduce_sum")


class Work(Enum):
    """What a nest does."""

    ELEMENTS = auto()  # computes elements of its values, each by itself
    PRODUCT = auto()  # multiplies by a matrix that is the same at all positions, all sequences at once
    SUM = auto()  # sums products
    FOLD = auto()  # folds axes
    JOIN = auto()  # puts operands one after the other


@dataclass(frozen=True, slots=True)
class Index:
    """Where an element of a value lies: one expression for each axis, or its place in row-major order."""

    axes: tuple[Code, ...] = ()
    flat: Code | None = None


@dataclass(frozen=True, slots=True)
class Nest:
    """Loops over all elements of `domain`, in which `values` are computed, operands first."""

    work: Work
    domain: Shape
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Nests:
    """The work of a position.

    Attributes:
        nests: in the order of execution.
        place: the number of the nest that computes a value.
        arrays: computed values that are kept in an array, since not only their own nest reads them.
        readers: the nests that read an arriving state; those that read it elsewhere than where they write count twice.
    """

    nests: tuple[Nest, ...]
    place: Mapping[Value, int]
    arrays: frozenset[Value]
    readers: Mapping[str, frozenset[int]]


PrintDim = Callable[[Dim], Code]


def nests_of(form: KernelForm, is_number: Callable[[Value], bool], print_dim: PrintDim) -> Nests:
    """The nests of a loop's position.

    Args:
        is_number: whether a value is written as a number wherever it is read.
        print_dim: a size as an expression.

    Raises:
        NoKernel: names the operation that has no form in C, and its line.
    """
    return _Scheduler(form, is_number, print_dim).scheduled()


def identity(value: Value) -> Index:
    """An element in the nest over a value's own axes."""
    return Index(tuple(Code(INDICES[axis]) for axis in range(value.rank)))


def resolved(value: Value, index: Index, stops: Callable[[Value], bool], print_dim: PrintDim) -> tuple[Value, Index]:
    """The value behind moves whose element this is, and its index there.

    Args:
        stops: whether a value can be read as it is.
    """
    while value.op in MOVES and not stops(value):
        (inner,) = value.args
        value, index = inner, _moved(value, inner, index, print_dim)
    return value, index


def _moved(value: Value, inner: Value, index: Index, print_dim: PrintDim) -> Index:
    """The index in the operand of a move."""
    axes = index.axes
    match value.op:
        case "reshape":
            return Index(flat=index.flat if index.flat is not None else flat_index(value.shape, axes, print_dim))
        case "expand":
            new = integers(value.attr("axes"))
            return Index(tuple(code for axis, code in enumerate(axes) if axis not in new))
        case "transpose":
            perm = integers(value.attr("perm"))
            return Index(tuple(axes[perm.index(axis)] for axis in range(inner.rank)))
        case "slice":
            axis, step = integer(value.attr("axis")), integer(value.attr("step"))
            code = times(axes[axis], Code(str(step)))
            return Index((*axes[:axis], plus(print_dim(dim(value.attr("start"))), code), *axes[axis + 1 :]))
        case "select":
            axis = integer(value.attr("axis"))
            return Index((*axes[:axis], print_dim(dim(value.attr("index"))), *axes[axis:]))
        case _:
            axis = integer(value.attr("axis"))
            code = infix("-", print_dim(inner.shape[axis] - 1), axes[axis])
            return Index((*axes[:axis], code, *axes[axis + 1 :]))


def flat_index(shape: Shape, axes: Sequence[Code], print_dim: PrintDim) -> Code:
    """The place of an element in row-major order."""
    whole = Code("0")
    for stride, code in zip(row_major(shape), axes, strict=True):
        whole = plus(whole, times(code, print_dim(stride)))
    return whole


def plus(left: Code, right: Code) -> Code:
    """The sum, where one of the two may be 0."""
    if left.text == "0" or right.text == "0":
        return right if left.text == "0" else left
    return infix("+", left, right)


def times(left: Code, right: Code) -> Code:
    """The product, where one of the factors may be 0 or 1."""
    if "0" in (left.text, right.text):
        return Code("0")
    if left.text == "1" or right.text == "1":
        return right if left.text == "1" else left
    return infix("*", left, right)


def operands(value: Value, index: Index) -> Iterator[tuple[Value, Index]]:
    """The operands of an element-wise value, each with the index of the element that is read.

    What indexes a table comes before the table, whose own axis is left open: its element is only known then.
    """
    axes = index.axes
    match value.op:
        case "einsum":
            left, result = str(value.attr("spec")).split("->")
            where = dict(zip(result, axes, strict=True))
            for letters, arg in zip(left.split(","), value.args, strict=True):
                yield arg, Index(tuple(where[letter] for letter in letters))
        case "gather":
            table, chosen = value.args
            axis, batch = integer(value.attr("axis")), integer(value.attr("batch"))
            inner = chosen.rank - batch
            yield chosen, Index((*axes[:batch], *axes[axis : axis + inner]))
            yield table, Index((*axes[:axis], Code(""), *axes[axis + inner :]))
        case _:
            for arg in value.args:
                yield arg, index if arg.rank else Index()


def is_elements(value: Value) -> bool:
    """Whether each element of a value is computed from some elements of its operands."""
    if value.op == "einsum":
        left, result = str(value.attr("spec")).split("->")
        return all(letter in result for letter in left if letter != ",")
    return value.op == "gather" or (family(value.op) is Family.ELEMENTWISE and value.op in PRINTERS)


@dataclass(slots=True)
class _Scheduler:
    """Nests while they are found."""

    form: KernelForm
    is_number: Callable[[Value], bool]
    print_dim: PrintDim
    found: list[tuple[Work, Shape, list[Value]]] = field(default_factory=list)
    place: dict[Value, int] = field(default_factory=dict)
    arrays: set[Value] = field(default_factory=set)
    readers: dict[str, set[int]] = field(default_factory=dict)
    stops: set[Value] = field(default_factory=set)

    def scheduled(self) -> Nests:
        body = [v for v in self.form.body if not self.is_number(v)]
        self._check(body)
        self.stops = self._read_whole(body)
        for value in body:
            if value.op not in MOVES or value in self.stops:
                self._put(value)
        for value in self._kept():
            leaf, index = self.leaf(value, identity(value))
            if leaf in self.place and (leaf is not value or self.work(leaf) is not Work.ELEMENTS):
                self.arrays.add(leaf)
        nests = tuple(Nest(work, domain, tuple(values)) for work, domain, values in self.found)
        readers = {name: frozenset(places) for name, places in self.readers.items()}
        return Nests(nests, self.place, frozenset(self.arrays), readers)

    def _kept(self) -> Iterator[Value]:
        yield from (output.value for output in self.form.cell.outputs)
        yield from (state.next for state in self.form.cell.states)

    def _check(self, body: Iterable[Value]) -> None:
        for value in body:
            if not (value.op in (*MOVES, *FOLDS, *SUMS, "concat") or is_elements(value)):
                places = self.form.cell.spans.get(value, ())
                where = f" in line {places[0].line}" if places else ""
                raise NoKernel(f"`{value.op}`{where} has no form in C")
            if value.rank > len(INDICES):
                raise NoKernel(f"a value has {value.rank} axes")

    def _read_whole(self, body: Sequence[Value]) -> set[Value]:
        """Moves that are computed into an array all the same: what a product with a matrix multiplies must be one."""
        found = users(body)
        reshaped = (v.args[0] for v in found if v.op == "reshape" and v not in self.form.views)
        wanted = [v for v in reshaped if v.op in MOVES and v.op != "reshape" and v not in self.form.views]
        wanted += [vector for v in body if (vector := static_product(self.form, v)) is not None]
        return {v for v in wanted if v in self.form.views or v.op in MOVES}

    def leaf(self, value: Value, index: Index) -> tuple[Value, Index]:
        return resolved(value, index, self.is_leaf, self.print_dim)

    def is_leaf(self, value: Value) -> bool:
        return value in self.form.views or value in self.stops or self.is_number(value)

    def work(self, value: Value) -> Work:
        if value.op in MOVES or value in self.form.views or is_elements(value):
            return Work.ELEMENTS
        if value.op in SUMS:
            return Work.PRODUCT if static_product(self.form, value) is not None else Work.SUM
        return Work.JOIN if value.op == "concat" else Work.FOLD

    def _put(self, value: Value) -> None:
        work = self.work(value)
        reads = list(self._reads(value, work))
        after = 0
        for leaf, index in reads:
            if leaf in self.place:
                beside = work is Work.ELEMENTS and self._is_beside(leaf, value, index)
                after = max(after, self.place[leaf] + (not beside))
        place = self._nest(work, value, after)
        self.place[value] = place
        for leaf, index in reads:
            if leaf in self.place and leaf is not value and (self.place[leaf] != place or index != identity(value)):
                self.arrays.add(leaf)
            if leaf.op == "state":
                own = index == identity(value) and work is Work.ELEMENTS
                self.readers.setdefault(str(leaf.attr("name")), set()).add(place if own else -place - 1)
        if work is not Work.ELEMENTS or value in self.stops:
            self.arrays.add(value)

    def _is_beside(self, leaf: Value, value: Value, index: Index) -> bool:
        """Whether the element that is read is computed in the same turn of the nest."""
        same = index == identity(value) and leaf.shape == value.shape
        return same and self.work(leaf) is Work.ELEMENTS and leaf not in self.stops

    def _nest(self, work: Work, value: Value, after: int) -> int:
        """The first nest from `after` on that the value can join, or a new one."""
        if work is Work.ELEMENTS:
            for place in range(after, len(self.found)):
                if self.found[place][0] is work and self.found[place][1] == value.shape:
                    self.found[place][2].append(value)
                    return place
        self.found.append((work, value.shape, [value]))
        return len(self.found) - 1

    def _reads(self, value: Value, work: Work) -> Iterator[tuple[Value, Index]]:
        """What a value reads, behind moves; by index where it is computed element by element."""
        if value in self.stops:
            value_index = identity(value)
            if value in self.form.views:
                return
            inner = value.args[0]
            yield from self._behind(inner, _moved(value, inner, value_index, self.print_dim))
        elif work is Work.ELEMENTS:
            for arg, index in operands(value, identity(value)):
                yield from self._behind(arg, index)
        else:
            for arg in value.args:
                leaf, _ = self.leaf(arg, identity(arg))
                yield leaf, Index((Code("elsewhere"),))

    def _behind(self, arg: Value, index: Index) -> Iterator[tuple[Value, Index]]:
        if not self.is_number(arg):
            yield self.leaf(arg, index)


def static_product(form: KernelForm, value: Value) -> Value | None:
    """The vectors that a product multiplies by a matrix which stays the same; None where it is no such product.

    Each sequence has one vector for each combination of the leading axes that vector, matrix and result share.
    """
    if value.op != "einsum" or len(value.args) != 2:
        return None
    left, result = str(value.attr("spec")).split("->")
    pairs = list(zip(left.split(","), value.args, strict=True))
    static = [arg in form.views and form.is_static(arg) for arg in value.args]
    if static == [False, True]:
        pairs.reverse()
    elif static != [True, False]:
        return None
    (matrix, _), (vector, arg) = pairs
    if not result or not vector or len(set(matrix)) != len(matrix) or len(set(vector)) != len(vector):
        return None
    shared, outer, inner = result[:-1], result[-1], vector[-1]
    fits = vector[:-1] == shared and outer not in vector and inner not in result
    return arg if fits and sorted(matrix) == sorted(shared + outer + inner) else None


def reached(values: Iterable[Value]) -> frozenset[Value]:
    """The values and everything that they are computed from."""
    return frozenset(postorder(values))
