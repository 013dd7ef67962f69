"""A loop over positions as one C function: states stay in arrays of a thread, which runs a few sequences at a time.

Threads share sequences among each other, and the axes along which nothing meets; none waits for another.  Matrices
that stay the same are packed once, and multiply all sequences of a thread at each position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, subscript
from lsrl.backends.kernel_form import KernelForm, kernel_form
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.naming import Names
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.loops import Cut, LoopTexts
from lsrl.backends.native.nests import Index, Nest, Nests, Work, identity, indices, nests_of, static_product, times
from lsrl.backends.native.operations import TYPES
from lsrl.backends.native.places import Numbers, Places, c_type, row, rows_in, tables_of
from lsrl.backends.triton_memory import Identifiers, Role, Tensor, tensors_of
from lsrl.backends.writer import origin_of
from lsrl.ir.cell import State
from lsrl.ir.dims import Dim, count
from lsrl.ir.value import Kind, Value, postorder

C_WORDS = tuple(
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "bool true false real data".split()
)
OWN = ("i_b", "i_t", "i_s", "n_b", "tile", "groups", "parts", "part", "first_b", "from", "to", "width", "sum", "folded")
OWN += ("best", "candidate", "better", "step", "saves", "swapped", "threads", "slot")
LARGEST_TILE = 32
"""Sequences that a thread runs at once where they share products: more would leave the nearer caches."""


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """A kernel as its caller sees it.

    Attributes:
        text: of the function, in C.
        tensors: its pointers, in order.
        numbers: what follows them, as expressions of the module around: `batch`, `length`, `every`, sizes, numbers.
        types: of those, in C.
        shared: sequences of a thread share products with matrices.
    """

    name: str
    text: str
    tensors: tuple[Tensor, ...]
    numbers: tuple[str, ...]
    types: tuple[str, ...]
    shared: bool


def native_kernel(name: str, loop: LoopCell, known: Mapping[str, int], outside: Mapping[str, str]) -> NativeKernel:
    """The kernel of a loop.

    Args:
        known: the number of every size.
        outside: the identifier of every size in the module around.

    Raises:
        NoKernel: an operation or a shape that has no form in C.
    """
    return _KernelWriter(name, loop, kernel_form(loop, known), known, outside).written()


class _KernelWriter:
    """A kernel while it is written."""

    def __init__(
        self, name: str, loop: LoopCell, form: KernelForm, known: Mapping[str, int], outside: Mapping[str, str]
    ) -> None:
        self.name, self.form, self.cell = name, form, form.cell
        sizes = {size: f"{own}_" if own in (*C_WORDS, *OWN) else own for size, own in outside.items()}
        self.own = Identifiers([*C_WORDS, *OWN, *sizes.values(), name])
        self.tensors = self._tensors(loop)
        statics = [tensor.name for tensor in self.tensors if tensor.role is Role.STATIC]
        self.length, self.batch, self.every = (self.own.fresh(word) for word in ("T", "B", "EVERY"))
        taken = (*C_WORDS, *OWN, *sizes.values(), *statics, self.length, self.batch, self.every, name)
        self.names = Names(self.cell, taken)
        self.numbers = Numbers(sizes, outside, known, self.own)
        self.leaves = form.arriving()
        self.cut_class = self._cut_class()
        axes = frozenset(axis for axis, number in form.classes.numbers.items() if number == self.cut_class)
        is_cut = lambda value, axis: (value, axis) in axes
        self.nests = nests_of(form, self.numbers.is_number, self.numbers.dim, is_cut)
        self.in_place = {state.name for state in self.cell.states if self.nests.written_in_place(state)}
        arrays = self._arrays()
        by_role = {(tensor.role, tensor.of): tensor for tensor in self.tensors}
        order = tuple(postorder(self.cell.roots()))
        places = Places(form, self.numbers, by_role, arrays, tables_of(order, self.own))
        self.texts = LoopTexts(self.names, self.nests, places, Cut(axes, "from", "to"))
        self.places = places
        self.shared = any(nest.work is Work.PRODUCT for nest in self.nests.nests)

    def _tensors(self, loop: LoopCell) -> tuple[Tensor, ...]:
        bases = {view.base: None for view in self.form.views.values()}
        found = tensors_of(loop, bases, frozenset(), False, Identifiers([]))
        ends = {Role.SAVED: "saved"}
        wanted = (tensor.name.removesuffix("_P") + "_saved" if tensor.role in ends else tensor.name for tensor in found)
        return tuple(replace(tensor, name=self.own.fresh(name)) for tensor, name in zip(found, wanted, strict=True))

    def _arrays(self) -> dict[Value, str]:
        """The array of every arriving state, and of every computed value that needs one.

        What a state becomes lies where the state does, or will.
        """
        taken = Identifiers([tensor.name for tensor in self.tensors])
        self.carried = {state.name: taken.fresh(f"{self.names[self._leaf(state)]}_now") for state in self.cell.states}
        self.following = {
            state.name: self.carried[state.name] if state.name in self.in_place else taken.fresh(f"{state.name}_after")
            for state in self.cell.states
        }
        found = {self.leaves[s.name]: self.carried[s.name] for s in self.cell.states if s.name in self.leaves}
        becomes = {state.next: self.following[state.name] for state in reversed(self.cell.states) if self._is_made(state)}
        for value in sorted(self.nests.arrays, key=lambda v: self.nests.place[v]):
            found[value] = becomes[value] if value in becomes else taken.fresh(f"{self.names[value]}_array")
        self.own_arrays = {found[v]: v for v in self.nests.arrays if v not in becomes}
        return found

    def _is_made(self, state: State) -> bool:
        """Whether a nest of elements computes what the state becomes, and so writes it where it will lie."""
        place = self.nests.place.get(state.next)
        return place is not None and self.nests.nests[place].work is Work.ELEMENTS

    def _leaf(self, state: State) -> Value:
        return self.leaves.get(state.name, state.next)

    def _cut_class(self) -> int | None:
        """The class of axes that threads can share: one that everything carried or kept has, and that never meets."""
        classes = self.form.classes
        carried = [*(self._leaf(state) for state in self.cell.states), *(o.value for o in self.cell.outputs)]
        if not carried or any(value not in {v for v, _ in classes.numbers} for value in carried):
            return None
        common = set(classes.of(carried[0])).intersection(*(classes.of(value) for value in carried[1:]))
        return min(common - classes.mixed, default=None)

    # The text, from the outside in.

    def written(self) -> NativeKernel:
        body = CWriter(depth=1)
        self._write_body(body)
        text = CWriter()
        arguments = [self._argument(tensor) for tensor in self.tensors]
        numbers = [(self.batch, "batch", "long"), (self.length, "length", "long")]
        if any(tensor.role is Role.SAVED for tensor in self.tensors):
            numbers.append((self.every, "every", "long"))
        used = frozenset(re.findall(r"\w+", str(body)))
        sizes = ((own, self.numbers.outside[size]) for size, own in self.numbers.sizes.items())
        numbers += [(own, outside, "long") for own, outside in sizes if own in used]
        numbers += [(name, code, type_) for code, (name, type_) in self.numbers.arguments.items()]
        numbers.append(("threads", "torch.get_num_threads()", "long"))
        text.text(f"void {self.name}(")
        text.text("\n".join(f"    {argument}" for argument in arguments))
        text.text(f"    {', '.join(f'{type_} {name}' for name, _, type_ in numbers)}")
        text.text(") {")
        text.append(body)
        text.text("}")
        outer, types = tuple(code for _, code, _ in numbers), tuple(type_ for _, _, type_ in numbers)
        return NativeKernel(self.name, str(text), self.tensors, outer, types, self.shared)

    def _argument(self, tensor: Tensor) -> str:
        """`const real *x,  // [B, T, D]`"""
        written = tensor.role in (Role.KEPT, Role.END, Role.SAVED)
        return f"{'' if written else 'const '}{c_type(tensor.kind)} *{tensor.name},  // {tensor.remark}"

    def _write_body(self, writer: CWriter) -> None:
        numbers = self.numbers
        for table, name in self.places.tables.items():
            items = ", ".join(map(str, _flattened(table.attr("value"))))
            writer.line(f"static const {c_type(table.kind)} {name}[] = {{{items}}};")
        if any(tensor.role is Role.SAVED for tensor in self.tensors):
            writer.line(f"const long saves = {self.every} ? ({self.length} + {self.every} - 1) / {self.every} : 0;")
        if self.shared:
            share = f"({self.batch} + threads - 1) / threads"
            writer.line(f"const long tile = {share} < {LARGEST_TILE} ? {share} : {LARGEST_TILE};", "sequences at once")
            writer.line(f"const long groups = ({self.batch} + tile - 1) / tile;")
        packed = self._write_packed(writer)
        groups = "groups" if self.shared else self.batch
        loops = [f"for (long first_b = 0; first_b < {groups}; first_b++)"]
        if self.cut_class is not None:
            size = numbers.dim(self._cut_size())
            writer.line(f"const long parts = threads > {groups} && {groups} ? (threads + {groups} - 1) / {groups} : 1;")
            writer.line(f"const long width = (({size} + parts - 1) / parts + 15) / 16 * 16;", "of a thread's part")
            loops.append("for (long part = 0; part < parts; part++)")
        collapse = f" collapse({len(loops)})" if len(loops) > 1 else ""
        writer.text(f"#pragma omp parallel for num_threads(threads) schedule(static){collapse}")
        with ExitStack() as blocks:
            for head in loops:
                blocks.enter_context(writer.block(head))
            self._write_sequences(writer)
        for name in packed:
            writer.line(f"free({name});")

    def _cut_size(self) -> Dim:
        value, axis = next(axis for axis, number in self.form.classes.numbers.items() if number == self.cut_class)
        return value.shape[axis]

    def _write_sequences(self, writer: CWriter) -> None:
        """Some sequences from their start to their end."""
        if self.cut_class is not None:
            size = self.numbers.dim(self._cut_size())
            writer.line("const long from = part * width;")
            writer.line(f"const long to = from + width < {size} ? from + width : {size};")
        if self.shared:
            rest = f"{self.batch} - first_b * tile"
            writer.line(f"const long n_b = {rest} < tile ? {rest} : tile;")
        arrays = self._allocated()
        for name, (value, type_) in arrays.items():
            size = times(Code("n_b") if self.shared else Code("1"), self.numbers.count(value.shape))
            writer.line(f"{type_} *{self._whole(name)} = new_array(({size}) * sizeof({type_}));")
        for state in self.cell.states:
            self._write_copy(writer, state, Role.START)
        with writer.block(f"for (long step = 0; step < {self.length}; step++)"):
            turned = f"{self.length} - 1 - step" if self.form.reverse else "step"
            writer.line(f"const long i_t = {turned};")
            self._write_position(writer)
        for state in self.cell.states:
            self._write_copy(writer, state, Role.END)
        writer.line(" ".join(f"free({self._whole(name)});" for name in arrays))

    def _allocated(self) -> dict[str, tuple[Value, str]]:
        """Every array with a value of its shape, and the type of its elements."""
        found: dict[str, tuple[Value, str]] = {}
        for state in self.cell.states:
            for name in (self.carried[state.name], self.following[state.name]):
                found[name] = self._leaf(state), c_type(state.kind)
        for name, value in self.own_arrays.items():
            found[name] = value, c_type(value.kind)
        return found

    def _whole(self, name: str) -> str:
        """An array of all sequences of a thread."""
        return f"{name}_rows" if self.shared else row(name)

    # Parts of it.

    def _write_packed(self, writer: CWriter) -> list[str]:
        """Matrices in the order in which products read them."""
        self.packed: dict[Value, str] = {}
        for value in (v for nest in self.nests.nests if nest.work is Work.PRODUCT for v in nest.values):
            matrix, letters, shared, inner, outer = _matrix(self.form, value)
            name = self.own.fresh(f"{self.names[matrix]}_packed")
            self.packed[value] = name
            view = self.form.views[matrix]
            tensor = self.places.tensors[Role.STATIC, str(view.base.attr("name"))]
            size = {letter: self.numbers.dim(dim) for letter, dim in zip(letters, matrix.shape, strict=True)}
            step = f"packed_size({size[inner]}, {size[outer]})"
            shape = tuple(matrix.shape[letters.index(letter)] for letter in shared)
            whole = times(self.numbers.count(shape), Code(step)) if shared else Code(step)
            writer.line(f"real *{name} = new_array({whole} * sizeof(real));")
            names = dict(zip(shared, indices(shape), strict=True))
            index = Index(tuple(Code(names.get(letter, "0")) for letter in letters))
            place = self.places.place(view.offset, view.strides, index)
            at = self.places.flat(shape, Index(tuple(map(Code, names.values()))))
            strides = [self.numbers.dim(view.strides[letters.index(letter)]) for letter in (inner, outer)]
            with ExitStack() as blocks:
                for letter, each in names.items():
                    blocks.enter_context(writer.block(f"for (long {each} = 0; {each} < {size[letter]}; {each}++)"))
                target = _beside(name, times(at, Code(step)))
                source = _beside(tensor.name, place)
                passed = ", ".join(map(str, (size[inner], size[outer], *strides)))
                writer.line(f"pack({target}, {source}, {passed});")
        return list(self.packed.values())

    def _write_copy(self, writer: CWriter, state: State, role: Role) -> None:
        """A state from where it starts, or to where it ends."""
        value = self._leaf(state)
        tensor, place = self.places.written(role, state.name, value.shape, identity(value))
        carried = subscript(Code(row(self.carried[state.name])), str(self.places.flat(value.shape, identity(value))))
        own = subscript(Code(row(tensor.name)), str(place))
        body = CWriter(depth=writer.depth + self.shared)
        with self.texts.over(value, body):
            body.line(f"{carried} = {own};" if role is Role.START else f"{own} = {carried};")
        self._write_rows(writer, body)

    def _write_rows(self, writer: CWriter, body: CWriter) -> None:
        """A part for each sequence of the thread, with the rows that it uses."""
        used = rows_in(str(body))
        with ExitStack() as blocks:
            if self.shared:
                blocks.enter_context(writer.block("for (long i_b = 0; i_b < n_b; i_b++)"))
                for name, (value, type_) in self._allocated().items():
                    if name in used:
                        step = times(Code("i_b"), self.numbers.count(value.shape))
                        writer.line(f"{type_} *const {row(name)} = {_beside(self._whole(name), step)};")
            else:
                blocks.enter_context(writer.block(""))
            for tensor in self.tensors:
                if tensor.name in used and tensor.role is not Role.STATIC:
                    self._write_row(writer, tensor)
            writer.append(_deeper(body, writer.depth))

    def _write_row(self, writer: CWriter, tensor: Tensor) -> None:
        """Where the sequence's row of a tensor lies."""
        sequence = "(first_b * tile + i_b)" if self.shared else "first_b"
        match tensor.role:
            case Role.START | Role.END:
                place = Code(sequence)
            case Role.SAVED:
                place = Code(f"({sequence} * saves + slot)")
            case _:
                place = Code(f"({sequence} * {self.length} + i_t)")
        written = tensor.role in (Role.KEPT, Role.END, Role.SAVED)
        type_ = f"{'' if written else 'const '}{c_type(tensor.kind)}"
        writer.line(f"{type_} *const {row(tensor.name)} = {tensor.name} + {times(place, self.numbers.dim(tensor.row))};")

    def _write_position(self, writer: CWriter) -> None:
        self._write_saves(writer)
        self._write_early(writer)
        for nest in self.nests.nests:
            match nest.work:
                case Work.ELEMENTS:
                    self._write_elements(writer, nest)
                case Work.PRODUCT:
                    self._write_product(writer, nest.values[0])
                case _:
                    body = CWriter(depth=writer.depth)
                    self.texts.write(nest.work, nest.values[0], body)
                    self._write_rows(writer, body)
        self._write_late(writer)
        for state in self.cell.states:
            if state.name not in self.in_place:
                now, after = (self._whole(each[state.name]) for each in (self.carried, self.following))
                with writer.block(""):
                    writer.line(f"{c_type(state.kind)} *swapped = {now};")
                    writer.line(f"{now} = {after};")
                    writer.line(f"{after} = swapped;")

    def _write_saves(self, writer: CWriter) -> None:
        """Arriving states of positions some way apart."""
        saved = [state for state in self.cell.states if self.places.has(Role.SAVED, state.name)]
        if not saved:
            return
        with writer.block(f"if ({self.every} && step % {self.every} == 0)"):
            slot = f"step / {self.every}"
            writer.line(f"const long slot = {f'saves - 1 - {slot}' if self.form.reverse else slot};")
            for state in saved:
                self._write_copy(writer, state, Role.SAVED)

    def _write_early(self, writer: CWriter) -> None:
        """What is kept or passed on and is there before anything is computed."""
        self._write_moved(writer, lambda value: self._computed(value) is None)

    def _write_late(self, writer: CWriter) -> None:
        """What is kept or passed on and lies in an array when everything is computed."""
        self._write_moved(writer, lambda value: self._computed(value) is not None and not self._stored(value))

    def _computed(self, value: Value) -> Value | None:
        """The computed value that this one is, behind moves."""
        leaf, _ = self.texts.leaf(value)
        return leaf if leaf in self.nests.place else None

    def _stored(self, value: Value) -> bool:
        """Whether the nest that computes a value stores it."""
        place = self.nests.place.get(value)
        return place is not None and self.nests.nests[place].work is Work.ELEMENTS

    def _write_moved(self, writer: CWriter, wanted: object) -> None:
        body = CWriter(depth=writer.depth)
        for output in self.cell.outputs:
            if self.places.has(Role.KEPT, output.name) and wanted(output.value):  # type: ignore[operator]
                with self.texts.over(output.value, body):
                    body.line(f"{self._kept(output.name, output.value)} = {self._read(output.value)};")
        for state in self.cell.states:
            if wanted(state.next):  # type: ignore[operator]
                with self.texts.over(state.next, body):
                    body.line(f"{self._next(state)} = {self._read(state.next)};")
        if str(body).strip():
            self._write_rows(writer, body)

    def _read(self, value: Value) -> Code:
        return self.texts.read(value, identity(value)).of(value.kind)

    def _kept(self, name: str, value: Value) -> Code:
        """Where an element of an output is written."""
        tensor, place = self.places.written(Role.KEPT, name, value.shape, identity(value))
        return subscript(Code(row(tensor.name)), str(place))

    def _next(self, state: State) -> Code:
        """Where an element of what a state becomes is written."""
        place = self.places.flat(state.next.shape, identity(state.next))
        return subscript(Code(row(self.following[state.name])), str(place))

    def _write_elements(self, writer: CWriter, nest: Nest) -> None:
        body = CWriter(depth=writer.depth)
        first = nest.values[0]
        with self.texts.over(first, body):
            statements = self.texts.statements(body)
            self._bind(nest, statements, body)
            stored = [value for value in nest.values if self._is_wanted(value)]
            statements.write(nest.values, set(stored))
            for value in stored:
                self._write_stores(value, str(statements.codes[value]), body)
        self._write_rows(writer, body)

    def _bind(self, nest: Nest, statements: object, body: CWriter) -> None:
        """Arriving states that the nest overwrites are read first."""
        overwritten = {self.leaves[s.name] for s in self.cell.states if s.name in self.in_place and s.name in self.leaves and s.next in nest.values}
        for leaf in overwritten:
            place = self.nests.place.get
            name = str(leaf.attr("name"))
            if any(own and number == place(nest.values[0]) for number, own in self.nests.readers.get(name, ())):
                code = self.places.element(leaf, identity(leaf)).code
                body.line(f"const {TYPES[leaf.kind]} {self.names[leaf]} = {code};")
                statements.bind(leaf)  # type: ignore[attr-defined]

    def _is_wanted(self, value: Value) -> bool:
        kept = any(output.value is value and self.places.has(Role.KEPT, output.name) for output in self.cell.outputs)
        return kept or value in self.nests.arrays or any(state.next is value for state in self.cell.states)

    def _write_stores(self, value: Value, code: str, body: CWriter) -> None:
        """An element to everywhere that it is read from later."""
        targets = [str(self._next(state)) for state in self.cell.states if state.next is value]
        if value in self.nests.arrays:
            targets.append(str(self.texts.store(value, identity(value))))
        outputs = [output.name for output in self.cell.outputs if output.value is value]
        targets += [str(self._kept(name, value)) for name in outputs if self.places.has(Role.KEPT, name)]
        body.lines(f"{target} = {code};" for target in dict.fromkeys(targets))

    def _write_product(self, writer: CWriter, value: Value) -> None:
        """A product for all sequences of the thread at once."""
        matrix, letters, shared, inner, outer = _matrix(self.form, value)
        vectors = static_product(self.form, value)
        assert vectors is not None
        size = {letter: self.numbers.dim(dim) for letter, dim in zip(letters, matrix.shape, strict=True)}
        writer.origin(origin_of(self.cell, value, self.names.users(value)))
        shape = value.shape[:-1]
        names = indices(shape)
        at = self.places.flat(shape, Index(tuple(map(Code, names))))
        with ExitStack() as blocks:
            for axis, name in enumerate(names):
                blocks.enter_context(writer.block(self.texts.cut.loop(value, axis, name, self.numbers.dim(shape[axis]))))
            out = _beside(self._whole(self.places.arrays[value]), times(at, size[outer]))
            given = _beside(self._whole(self.places.arrays[vectors]), times(at, size[inner]))
            packed = _beside(self.packed[value], times(at, Code(f"packed_size({size[inner]}, {size[outer]})")))
            steps = [self.numbers.count(each.shape) for each in (value, vectors)]
            writer.line(f"product({out}, {steps[0]}, {given}, {steps[1]}, {packed}, n_b, {size[inner]}, {size[outer]});")


def _matrix(form: KernelForm, value: Value) -> tuple[Value, str, str, str, str]:
    """Of a product with a matrix that stays the same: the matrix, its letters; the shared ones, the summed, the own."""
    left, result = str(value.attr("spec")).split("->")
    letters = left.split(",")
    static = 0 if form.is_static(value.args[0]) else 1
    shared, outer, inner = result[:-1], result[-1], letters[1 - static][-1]
    return value.args[static], letters[static], shared, inner, outer


def _beside(pointer: str, place: Code) -> str:
    """`pointer + place`"""
    return pointer if place.text == "0" else f"{pointer} + {place}"


def _deeper(body: CWriter, depth: int) -> CWriter:
    """The lines of a part one level further inside."""
    moved = CWriter(depth=depth - body.depth)
    moved.text(str(body))
    return moved


def _flattened(items: object) -> Sequence[object]:
    """The numbers of a constant array in row-major order."""
    if isinstance(items, tuple):
        return [number for item in items for number in _flattened(item)]
    return [repr(float(items)) if isinstance(items, float) else str(items).lower() if isinstance(items, bool) else items]
