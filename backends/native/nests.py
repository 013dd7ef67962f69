"""The work of one position as loop nests, one after the other: which values share a nest, which need an array.

Element-wise work over the same axes shares one nest, as far as what it reads is there: an element that only its own
nest uses stays in a register.  What sums, joins or folds has a nest of its own.  Moves (slices, transposes, repeats)
are no work: whoever reads them reads the array behind them at another index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from lsrl.backends.expressions import Code, infix
from lsrl.backends.kernel_form import KernelForm, NoKernel, row_major
from lsrl.backends.native.operations import PRINTERS
from lsrl.ir.cell import State
from lsrl.ir.dims import Dim, Shape, shape_text
from lsrl.ir.infer import dim, integer, integers
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value

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
        copied: moves, and parts of what lies in memory, that are computed all the same.
        readers: of every arriving state the nests that read it, and whether that is each element in its own turn.
    """

    nests: tuple[Nest, ...]
    place: Mapping[Value, int]
    arrays: tuple[Value, ...]
    copied: tuple[Value, ...]
    readers: Mapping[str, frozenset[tuple[int, bool]]]

    def written_in_place(self, state: State) -> bool:
        """Whether the next value can take the place of the arriving one, which nobody reads any more."""
        own = self.place.get(state.next)
        if own is None or self.nests[own].work is not Work.ELEMENTS:
            return False
        return all(place < own or (place == own and beside) for place, beside in self.readers.get(state.name, ()))


PrintDim = Callable[[Dim], Code]


def nests_of(
    form: KernelForm,
    is_number: Callable[[Value], bool],
    print_dim: PrintDim,
    is_cut: Callable[[Value, int], bool],
) -> Nests:
    """The nests of a loop's position.

    Args:
        is_number: whether a value is written as a number wherever it is read.
        print_dim: a size as an expression.
        is_cut: whether a thread may run a part of an axis of a value; values of a nest agree on that.

    Raises:
        NoKernel: names the operation that has no form in C, and its line.
    """
    return _Scheduler(form, is_number, print_dim, is_cut).scheduled()


def identity(value: Value) -> Index:
    """An element in the nest over a value's own axes."""
    return Index(tuple(map(Code, indices(value.shape))))


def indices(shape: Shape) -> tuple[str, ...]:
    """The variables of the loops over a shape: `i_h` for an axis of H elements."""
    names: list[str] = []
    for axis, size in enumerate(shape):
        words = str(size)
        name = f"i_{words.lower()}" if words.isidentifier() else f"i_{axis}"
        names.append(name if name not in names else f"{name}_{axis}")
    return tuple(names)


def resolved(value: Value, index: Index, stops: Callable[[Value], bool], print_dim: PrintDim) -> tuple[Value, Index]:
    """The value behind moves whose element this is, and its index there.

    Args:
        stops: whether a value can be read as it is.
    """
    while value.op in MOVES and not stops(value):
        (inner,) = value.args
        value, index = inner, moved(value, inner, index, print_dim)
    return value, index


def moved(value: Value, inner: Value, index: Index, print_dim: PrintDim) -> Index:
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


@dataclass(frozen=True, slots=True)
class _Read:
    """One value that another reads: behind moves, and whether in the same turn of a nest over all elements."""

    leaf: Value
    beside: bool


class _Scheduler:
    """Puts every value into a stage; what is in one stage only reads, but for its own nest, what is in those before."""

    def __init__(
        self,
        form: KernelForm,
        is_number: Callable[[Value], bool],
        print_dim: PrintDim,
        is_cut: Callable[[Value, int], bool],
    ) -> None:
        self.form, self.is_number, self.print_dim, self.is_cut = form, is_number, print_dim, is_cut
        body = [v for v in form.body if not is_number(v)]
        self._check(body)
        self.copied = tuple(dict.fromkeys(self._copied(body)))
        in_memory = [v for v in self.copied if v in form.views]
        self.made = (*in_memory, *(v for v in body if v.op not in MOVES or v in self.copied))
        self.reads = {value: tuple(self._reads(value)) for value in self.made}

    def scheduled(self) -> Nests:
        stages = self._latest(self._earliest())
        keys = {value: self._key(value, stages[value]) for value in self.made}
        order = {key: number for number, key in enumerate(sorted(dict.fromkeys(keys.values())))}
        place = {value: order[key] for value, key in keys.items()}
        members: list[list[Value]] = [[] for _ in order]
        for value in self.made:
            members[place[value]].append(value)
        nests = tuple(Nest(self.work(own[0]), own[0].shape, tuple(own)) for own in members)
        return Nests(nests, place, self._arrays(place), self.copied, self._readers(place))

    def _key(self, value: Value, stage: int) -> tuple[int, int, str]:
        """What the values of a nest share; element-wise work comes behind everything else of its stage."""
        if self.work(value) is not Work.ELEMENTS:
            return stage, self.made.index(value), ""
        cut = "".join(str(int(self.is_cut(value, axis))) for axis in range(value.rank))
        return stage, len(self.made), f"{shape_text(value.shape)} {cut}"

    def _earliest(self) -> dict[Value, int]:
        """The first stage in which everything that a value reads is there."""
        stages: dict[Value, int] = {}
        for value in self.made:
            known = [(read, stages[read.leaf]) for read in self.reads[value] if read.leaf in stages]
            stages[value] = max((stage + (not read.beside) for read, stage in known), default=0)
        return stages

    def _latest(self, stages: dict[Value, int]) -> dict[Value, int]:
        """Element-wise work moves to its first reader, so that what it computes stays in registers."""
        wanted: dict[Value, int] = {}
        for value in reversed(self.made):
            if self.work(value) is Work.ELEMENTS and value in wanted:
                stages[value] = max(stages[value], wanted[value])
            for read in self.reads[value]:
                if read.leaf in stages:
                    latest = stages[value] - (not read.beside)
                    wanted[read.leaf] = min(latest, wanted.get(read.leaf, latest))
        return stages

    def _arrays(self, place: Mapping[Value, int]) -> tuple[Value, ...]:
        found = {value for value in self.made if self.work(value) is not Work.ELEMENTS or value in self.copied}
        for value in self.made:
            for read in self.reads[value]:
                if read.leaf in place and (place[read.leaf] != place[value] or not read.beside):
                    found.add(read.leaf)
        for value in self._kept():
            leaf, _ = self.leaf(value, identity(value))
            found |= {leaf} if leaf in place and leaf is not value else set()
        return tuple(value for value in self.made if value in found)

    def _readers(self, place: Mapping[Value, int]) -> dict[str, frozenset[tuple[int, bool]]]:
        found: dict[str, set[tuple[int, bool]]] = {}
        for value in self.made:
            for read in self.reads[value]:
                if read.leaf.op == "state":
                    found.setdefault(str(read.leaf.attr("name")), set()).add((place[value], read.beside))
        return {name: frozenset(places) for name, places in found.items()}

    def _kept(self) -> Iterator[Value]:
        yield from (output.value for output in self.form.cell.outputs)
        yield from (state.next for state in self.form.cell.states)

    def _check(self, body: Iterable[Value]) -> None:
        for value in body:
            if not (value.op in (*MOVES, *FOLDS, *SUMS, "concat") or is_elements(value)):
                places = self.form.cell.spans.get(value, ())
                where = f" in line {places[0].line}" if places else ""
                raise NoKernel(f"`{value.op}`{where} has no form in C")

    def _copied(self, body: Sequence[Value]) -> Iterator[Value]:
        """What is read as a whole, in order, so that it must lie in an array."""
        views = self.form.views
        for value in body:
            vectors = static_product(self.form, value)
            if vectors is not None and (vectors in views or vectors.op in MOVES):
                yield vectors
            if value.op == "reshape" and (value.args[0] in views or value.args[0].op in MOVES):
                yield value.args[0]

    def leaf(self, value: Value, index: Index) -> tuple[Value, Index]:
        return resolved(value, index, self.is_leaf, self.print_dim)

    def is_leaf(self, value: Value) -> bool:
        return value in self.form.views or value in self.copied or self.is_number(value)

    def work(self, value: Value) -> Work:
        if value in self.copied or is_elements(value):
            return Work.ELEMENTS
        if value.op in SUMS:
            return Work.PRODUCT if static_product(self.form, value) is not None else Work.SUM
        return Work.JOIN if value.op == "concat" else Work.FOLD

    def _reads(self, value: Value) -> Iterator[_Read]:
        """What a value reads."""
        own = identity(value)
        elements = self.work(value) is Work.ELEMENTS
        for arg, index in self._operands(value, own):
            leaf, at = self.leaf(arg, index)
            if not self.is_number(leaf):
                beside = elements and at == own and leaf.shape == value.shape
                made = leaf.op == "state" or self.work(leaf) is Work.ELEMENTS
                yield _Read(leaf, beside and made)

    def _operands(self, value: Value, own: Index) -> Iterator[tuple[Value, Index]]:
        if value in self.copied:
            if value not in self.form.views:
                inner = value.args[0]
                yield inner, moved(value, inner, own, self.print_dim)
        elif self.work(value) is Work.ELEMENTS:
            yield from operands(value, own)
        else:
            yield from ((arg, identity(arg)) for arg in value.args)


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
