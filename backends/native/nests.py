"""The work of one position as loop nests, one after the other: which values share a nest, which need an array.

Element-wise work over the same axes shares one nest, as far as what it reads is there: an element that only its own
nest uses stays in a register.  What sums, joins or folds has a nest of its own.  Moves (slices, transposes, repeats)
are no work: whoever reads them reads the array behind them at another index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from lsrl.backends.kernel_form import KernelForm, NoKernel
from lsrl.backends.native.indexing import MOVES, Index, PrintDim, identity, is_elements, moved, operands, resolved
from lsrl.backends.native.static_product import StaticProduct, static_product
from lsrl.ir.cell import State
from lsrl.ir.dims import Shape, shape_text
from lsrl.ir.value import Value

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
        products: those of nests that multiply by a matrix.
        copied: moves, and parts of what lies in memory, that are computed all the same.
        readers: of every arriving state the nests that read it, and whether that is each element in its own turn.
    """

    nests: tuple[Nest, ...]
    place: Mapping[Value, int]
    arrays: tuple[Value, ...]
    products: tuple[StaticProduct, ...]
    copied: tuple[Value, ...]
    readers: Mapping[str, frozenset[tuple[int, bool]]]

    def computes_elements(self, value: Value) -> bool:
        """Whether a nest of elements computes the value, so that it can store it anywhere."""
        own = self.place.get(value)
        return own is not None and self.nests[own].work is Work.ELEMENTS

    def written_in_place(self, state: State) -> bool:
        """Whether the next value can take the place of the arriving one, which nobody reads any more."""
        if not self.computes_elements(state.next):
            return False
        own = self.place[state.next]
        return all(place < own or (place == own and beside) for place, beside in self.readers.get(state.name, ()))


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


def is_leaf(
    value: Value, form: KernelForm, copied: Collection[Value], is_number: Callable[[Value], bool]
) -> bool:
    """Whether a value is read as it is, and not behind the moves that it may be made of."""
    return value in form.views or value in copied or is_number(value)


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
        found = (static_product(self.form, value) for value in self.made)
        products = tuple(product for product in found if product is not None)
        return Nests(nests, place, self._arrays(place), products, self.copied, self._readers(place))

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
            product = static_product(self.form, value)
            if product is not None and (product.vectors in views or product.vectors.op in MOVES):
                yield product.vectors
            if value.op == "reshape" and (value.args[0] in views or value.args[0].op in MOVES):
                yield value.args[0]

    def leaf(self, value: Value, index: Index) -> tuple[Value, Index]:
        return resolved(value, index, self.is_leaf, self.print_dim)

    def is_leaf(self, value: Value) -> bool:
        return is_leaf(value, self.form, self.copied, self.is_number)

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
