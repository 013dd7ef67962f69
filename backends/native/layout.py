"""What a kernel's text is written from: its arguments, arrays and names, and how threads share the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lsrl.backends.kernel_form import KernelForm, kernel_form
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.naming import Names
from lsrl.backends.native.c_text import known_names
from lsrl.backends.native.elements import END, FIRST, Elements
from lsrl.backends.native.nests import Nests, Work, nests_of
from lsrl.backends.native.numbers import Numbers
from lsrl.backends.native.places import Places, c_type
from lsrl.backends.native.static_product import StaticProduct
from lsrl.backends.triton_memory import Identifiers, Role, Tensor, tensors_of
from lsrl.ir.cell import State
from lsrl.ir.dims import Dim, Shape, count
from lsrl.ir.value import Value, postorder

C_WORDS = (
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
    "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
    "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "bool",
    "true", "false", "real", "data", "free", "malloc",
)
OWN = (
    "i_b", "i_t", "n_b", "first_b", "tile", "groups", "parts", "part", "width", "step", "slot", "saves", "threads",
    "swapped", "sum", "folded", "best", "candidate", "better",
)
"""The variables of every kernel beside its arrays and the elements of values."""


@dataclass(frozen=True, slots=True)
class Array:
    """Room for a value at one position of a sequence.

    Attributes:
        name: of the array; `NAME_row` is one sequence's.
        shape: of the value.
        type: of its elements in C.
    """

    name: str
    shape: Shape
    type: str


@dataclass(frozen=True, slots=True)
class Cut:
    """An axis of everything that is carried or kept, along which nothing meets.

    Attributes:
        size: of the axis.
        numbers: what is read again and again for one element of it: numbers of states, and of matrices.
        innermost: its elements lie side by side.
    """

    size: Dim
    numbers: Dim
    innermost: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The frame of a kernel.

    Attributes:
        name: of the kernel.
        form: the loop.
        names: of values.
        tensors: the kernel's pointers.
        length, batch, every: the arguments for the numbers of positions and of sequences, and for how many positions
            lie between two of which the arriving states are kept.
        elements: how elements are read.
        arrays: everything that has room in a thread, in order.
        carried, following: the names of the arrays where a state arrives, and where it is passed on; by state.
        cut: the axis that threads share, None where nothing can be shared but sequences.
        shared: the sequences of a thread share products, and so run together.
    """

    name: str
    form: KernelForm
    names: Names
    tensors: tuple[Tensor, ...]
    length: str
    batch: str
    every: str
    elements: Elements
    arrays: tuple[Array, ...]
    carried: Mapping[str, str]
    following: Mapping[str, str]
    cut: Cut | None
    shared: bool

    @property
    def nests(self) -> Nests:
        return self.elements.nests

    @property
    def places(self) -> Places:
        return self.elements.places

    @property
    def numbers(self) -> Numbers:
        return self.places.numbers

    def leaf(self, state: State) -> Value:
        """A value with the axes of an arriving state: that state, where anything reads it."""
        return self.form.arriving().get(state.name, state.next)

    def in_place(self, state: State) -> bool:
        """Whether what a state becomes takes its place at once."""
        return self.carried[state.name] == self.following[state.name]

    def packed(self, product: StaticProduct) -> str:
        """The array of the packed matrix of a product."""
        order = [product.letters.index(letter) for letter in product.shared + product.outer + product.inner]
        turned = "" if order == sorted(order) else f"_{''.join(map(str, order))}"
        return f"{self.names[product.matrix]}{turned}_packed"

    def whole(self, array: str) -> str:
        """An array of all sequences that run together."""
        return f"{array}_rows" if self.shared else f"{array}_row"


def layout_of(name: str, loop: LoopCell, known: Mapping[str, int], outside: Mapping[str, str]) -> Layout:
    """The frame of the kernel `name`.

    Args:
        known: the number of every size.
        outside: the identifier of every size in the module around.

    Raises:
        NoKernel: an operation or a shape that has no form in C.
    """
    form = kernel_form(loop, known)
    reserved = {*C_WORDS, *OWN, FIRST, END, name, *known_names()}
    sizes = {size: f"{own}_" if own in reserved else own for size, own in outside.items()}
    own = Identifiers([*reserved, *sizes.values()])
    length, batch, every = (own.fresh(word) for word in ("T", "B", "EVERY"))
    names = Names(form.cell, (*reserved, *sizes.values(), length, batch, every))
    tensors = _tensors(loop, form, names, own)
    numbers = Numbers(sizes, outside, known, own)
    axes = _cut_axes(form)
    nests = nests_of(form, numbers.is_number, numbers.dim, lambda value, axis: (value, axis) in axes)
    rooms = _Rooms.of(form, nests, names, Identifiers([tensor.name for tensor in tensors]))
    tables = {v: own.fresh("table") for v in postorder(form.cell.roots()) if v.op == "const" and v.rank}
    places = Places(form, numbers, {(tensor.role, tensor.of): tensor for tensor in tensors}, rooms.of_values, tables)
    elements = Elements(names, nests, places, axes)
    shared = any(nest.work is Work.PRODUCT for nest in nests.nests)
    return Layout(
        *(name, form, names, tensors, length, batch, every),
        *(elements, rooms.arrays, rooms.carried, rooms.following, _cut(form, nests, axes), shared),
    )


def _tensors(loop: LoopCell, form: KernelForm, names: Names, own: Identifiers) -> tuple[Tensor, ...]:
    """The kernel's pointers; those to what stays the same are called like the value, which they stand for."""
    bases = dict.fromkeys(view.base for view in form.views.values())
    found = tensors_of(loop, bases, frozenset(), False, Identifiers([]))
    static = {str(base.attr("name")): own.fresh(names[base]) for base in bases if base.op == "param"}
    saved = {tensor: f"{tensor.of}_saved" for tensor in found if tensor.role is Role.SAVED}
    others = {tensor: own.fresh(saved.get(tensor, tensor.name)) for tensor in found if tensor.role is not Role.STATIC}
    return tuple(replace(tensor, name=others.get(tensor) or static[tensor.of]) for tensor in found)


def _carried(form: KernelForm) -> list[Value]:
    """A value with the axes of each state."""
    arriving = form.arriving()
    return [arriving.get(state.name, state.next) for state in form.cell.states]


def _cut_axes(form: KernelForm) -> frozenset[tuple[Value, int]]:
    """The axes that threads can share: those along which nothing meets, which all that is carried or kept has."""
    classes = form.classes
    carried = [*_carried(form), *(output.value for output in form.cell.outputs)]
    known = {value for value, _ in classes.numbers}
    if not known.issuperset(carried):
        return frozenset()
    common = set(classes.of(carried[0])).intersection(*(classes.of(value) for value in carried[1:])) - classes.mixed
    chosen = min(common, default=None)
    return frozenset(axis for axis, number in classes.numbers.items() if number == chosen)


def _cut(form: KernelForm, nests: Nests, axes: frozenset[tuple[Value, int]]) -> Cut | None:
    """The axis that threads share."""
    carried = _carried(form)
    found = [axis for axis in range(carried[0].rank) if (carried[0], axis) in axes]
    if not found:
        return None
    read = [*carried, *dict.fromkeys(each.matrix for each in nests.products)]
    numbers = Dim.of(0)
    for value in read:
        beside = [size for axis, size in enumerate(value.shape) if (value, axis) not in axes]
        numbers = numbers + (count(beside) if len(beside) < value.rank else 0)
    return Cut(carried[0].shape[found[0]], numbers, found[0] == carried[0].rank - 1)


@dataclass(frozen=True, slots=True)
class _Rooms:
    """The arrays of a kernel.

    Attributes:
        of_values: the name of the array of every arriving state, and of every computed value that needs one.
        arrays, carried, following: as `Layout` has them.
    """

    of_values: Mapping[Value, str]
    arrays: tuple[Array, ...]
    carried: Mapping[str, str]
    following: Mapping[str, str]

    @classmethod
    def of(cls, form: KernelForm, nests: Nests, names: Names, own: Identifiers) -> _Rooms:
        """What a state becomes lies where the state does or will, so that it is stored once."""
        states, arriving = form.cell.states, form.arriving()
        carried = {state.name: own.fresh(f"{state.name}_now") for state in states}
        later = {s.name: own.fresh(f"{s.name}_after") for s in states if not nests.written_in_place(s)}
        following = {**carried, **later}
        of_values = {arriving[name]: array for name, array in carried.items() if name in arriving}
        arrays = {
            array: Array(array, arriving.get(state.name, state.next).shape, c_type(state.kind))
            for state in states
            for array in (carried[state.name], following[state.name])
        }
        made = [state for state in states if nests.computes_elements(state.next)]
        becomes = {state.next: following[state.name] for state in reversed(made)}
        for value in nests.arrays:
            of_values[value] = becomes.get(value) or own.fresh(f"{names[value]}_all")
            arrays.setdefault(of_values[value], Array(of_values[value], value.shape, c_type(value.kind)))
        return cls(of_values, tuple(arrays.values()), carried, following)
