"""One nest of loops as C: what each kind of work is written as."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate

from lsrl.backends.expressions import Code, infix, subscript
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.naming import Names
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.nests import (
    Index,
    Nests,
    Work,
    identity,
    indices,
    is_elements,
    moved,
    operands,
    plus,
    resolved,
    times,
)
from lsrl.backends.native.operations import PRINTERS, TYPES, Element, cast
from lsrl.backends.native.places import Places, row
from lsrl.backends.statements import Statements, Target
from lsrl.backends.writer import Writer, origin_of
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.infer import integer, integers
from lsrl.ir.value import Kind, Value

SIMD = "#pragma omp simd"


@dataclass(frozen=True, slots=True)
class Cut:
    """The axes of which a thread may run a part, and the variables of its ends."""

    axes: frozenset[tuple[Value, int]]
    first: str
    end: str

    def loop(self, value: Value, axis: int, name: str, size: Code) -> str:
        """The head of the loop over an axis of a value."""
        cut = (value, axis) in self.axes
        start, end = (self.first, self.end) if cut else ("0", str(size))
        return f"for (long {name} = {start}; {name} < {end}; {name}++)"


class Elements(Statements):
    """Statements on elements in registers."""

    def pieces(self, value: Value) -> tuple[Value, ...]:
        return ()

    def _assign(self, value: Value, code: Code, users: Iterable[Value]) -> None:
        self.writer.origin(origin_of(self.cell, value, users))
        self.writer.line(f"const {TYPES[value.kind]} {self.names[value]} = {code};")
        self.bind(value)


@dataclass(frozen=True, slots=True)
class LoopTexts:
    """Writes nests.

    Attributes:
        names: of values.
        nests: of the loop's position.
        places: where elements lie.
        cut: what a thread runs of each axis.
    """

    names: Names
    nests: Nests
    places: Places
    cut: Cut

    def is_number(self, value: Value) -> bool:
        return self.places.numbers.is_number(value)

    def read(self, value: Value, index: Index, codes: Mapping[Value, Code] | None = None) -> Element:
        """An element of a value, behind moves.

        Args:
            codes: elements in registers of this turn of the nest.
        """
        leaf, at = resolved(value, index, self._is_leaf, self.places.numbers.dim)
        if codes and leaf in codes and at == identity(leaf):
            return Element(leaf, codes[leaf])
        return self.places.element(leaf, at)

    def leaf(self, value: Value) -> tuple[Value, Index]:
        """The value behind moves that is read for this one."""
        return resolved(value, identity(value), self._is_leaf, self.places.numbers.dim)

    def _is_leaf(self, value: Value) -> bool:
        return value in self.places.form.views or value in self.nests.copied or self.is_number(value)

    @contextmanager
    def over(self, value: Value, writer: CWriter, *, simd: bool = True) -> Iterator[None]:
        """Loops over the axes of a value."""
        names = indices(value.shape)
        with ExitStack() as blocks:
            for axis, (name, size) in enumerate(zip(names, value.shape, strict=True)):
                if simd and axis == value.rank - 1:
                    writer.text(SIMD)
                head = self.cut.loop(value, axis, name, self.places.numbers.dim(size))
                blocks.enter_context(writer.block(head))
            yield

    def statements(self, writer: Writer) -> Elements:
        """The statements of one turn of a nest of elements."""

        def express(value: Value, codes: Mapping[Value, Code]) -> Code:
            if value in self.nests.copied:
                return self._copied(value).code
            if value.op == "gather":
                return self._gathered(value, codes).code
            given = [self.read(arg, index, codes) for arg, index in operands(value, identity(value))]
            if all(each.literal for each in given) and value.kind is Kind.FLOAT:
                given = [Element(each.value, cast("real", each.code)) for each in given]
            return PRINTERS[value.op](value, given)

        def nothing(value: Value, code: Code, axis: int, sizes: object) -> Code:
            raise AssertionError("elements are not split")

        target = Target(self.is_number, lambda v: False, express, lambda v: "", nothing)
        return Elements(self.places.form.cell, self.names, writer, target)

    def _copied(self, value: Value) -> Element:
        index = identity(value)
        if value in self.places.form.views:
            return Element(value, self.places.read_memory(value, index))
        inner = value.args[0]
        return self.read(inner, moved(value, inner, index, self.places.numbers.dim))

    def _gathered(self, value: Value, codes: Mapping[Value, Code]) -> Element:
        """The element of a table; an index outside is clamped."""
        (chosen, at), (table, open_) = operands(value, identity(value))
        number = self.read(chosen, at, codes).code
        last = self.places.numbers.dim(table.shape[integer(value.attr("axis"))] - 1)
        place = Code(f"minimum_int(maximum_int({number}, 0), {last})")
        axes = tuple(place if not code.text else code for code in open_.axes)
        return self.read(table, Index(axes))

    def write(self, work: Work, value: Value, writer: CWriter) -> None:
        """A nest that computes one value into its array."""
        writer.origin(origin_of(self.places.form.cell, value, self.names.users(value)))
        match work:
            case Work.SUM:
                self._write_sum(value, writer)
            case Work.FOLD:
                self._write_fold(value, writer)
            case _:
                self._write_join(value, writer)

    def store(self, value: Value, index: Index) -> Code:
        """The element of a value's array."""
        return subscript(Code(row(self.places.arrays[value])), str(self.places.flat(value.shape, index)))

    # Sums of products.

    def _write_sum(self, value: Value, writer: CWriter) -> None:
        sum_ = _Sum.of(value)
        names = indices((*value.shape, *(sum_.sizes[letter] for letter in sum_.summed)))
        where = dict(zip((*sum_.result, *sum_.summed), map(Code, names), strict=True))
        factors = [self.read(arg, Index(tuple(where[x] for x in letters))) for letters, arg in sum_.factors]
        product = factors[0].of(value.kind)
        for factor in factors[1:]:
            product = infix("*", product, factor.of(value.kind))
        inner = self._innermost(sum_)
        with ExitStack() as blocks:
            for letter in sum_.result:
                if letter != inner:
                    blocks.enter_context(writer.block(self._head(sum_, letter, where)))
            if inner in sum_.result:
                self._write_rows(value, sum_, inner, where, product, writer)
            else:
                self._write_dots(value, sum_, inner, where, product, writer)

    def _write_rows(
        self, value: Value, sum_: _Sum, inner: str, where: Mapping[str, Code], product: Code, writer: CWriter
    ) -> None:
        """Sums side by side: each term is added to all of them."""
        target = self.store(value, identity(value))
        head = self._head(sum_, inner, where)
        writer.text(SIMD)
        writer.line(f"{head} {target} = 0;")
        with ExitStack() as blocks:
            for letter in sum_.summed:
                blocks.enter_context(writer.block(self._head(sum_, letter, where)))
            writer.text(SIMD)
            with writer.block(head):
                writer.line(f"{target} += {product};")

    def _write_dots(
        self, value: Value, sum_: _Sum, inner: str, where: Mapping[str, Code], product: Code, writer: CWriter
    ) -> None:
        """One sum after the other."""
        writer.line(f"{TYPES[value.kind]} sum = 0;")
        with ExitStack() as blocks:
            for letter in sum_.summed:
                if letter != inner:
                    blocks.enter_context(writer.block(self._head(sum_, letter, where)))
            writer.text(f"{SIMD} reduction(+ : sum)")
            with writer.block(self._head(sum_, inner, where)):
                writer.line(f"sum += {product};")
        writer.line(f"{self.store(value, identity(value))} = sum;")

    def _head(self, sum_: _Sum, letter: str, where: Mapping[str, Code]) -> str:
        value, axis = sum_.axes[letter]
        return self.cut.loop(value, axis, str(where[letter]), self.places.numbers.dim(sum_.sizes[letter]))

    def _innermost(self, sum_: _Sum) -> str:
        """The letter whose elements lie side by side in most of what is read and written."""

        def beside(letter: str) -> int:
            return sum(letters.endswith(letter) for letters, _ in sum_.factors) + sum_.result.endswith(letter)

        candidates = [*sum_.summed, *sum_.result[-1:]]
        return max(candidates, key=beside)

    # Folds.

    def _write_fold(self, value: Value, writer: CWriter) -> None:
        (arg,) = value.args
        gone = integers(value.attr("axes"))
        names = iter(indices((*value.shape, *(arg.shape[axis] for axis in gone))))
        kept = [next(names) for _ in value.shape]
        inner = dict(zip(gone, names, strict=True))
        kept_names = iter(kept)
        axes = tuple(Code(inner[axis] if axis in inner else next(kept_names)) for axis in range(arg.rank))
        element = self.read(arg, Index(axes))
        numbers = self.places.numbers
        with ExitStack() as outer:
            for axis, (name, size) in enumerate(zip(kept, value.shape, strict=True)):
                outer.enter_context(writer.block(self.cut.loop(value, axis, name, numbers.dim(size))))
            fold = _fold(value, element, self.places.flat(tuple(arg.shape[a] for a in gone), _index(inner[a] for a in gone)))
            writer.lines(fold.starts)
            with ExitStack() as loops:
                for axis in gone:
                    loops.enter_context(writer.block(f"for (long {inner[axis]} = 0; {inner[axis]} < {numbers.dim(arg.shape[axis])}; {inner[axis]}++)"))
                writer.lines(fold.turn)
            writer.line(f"{self.store(value, identity(value))} = {fold.result};")

    def _write_join(self, value: Value, writer: CWriter) -> None:
        """concat: each operand into its stretch of the array."""
        axis = integer(value.attr("axis"))
        starts = accumulate((arg.shape[axis] for arg in value.args), initial=Dim.of(0))
        for arg, start in zip(value.args, starts, strict=False):
            index = identity(arg)
            at = plus(self.places.numbers.dim(start), index.axes[axis])
            target = self.store(value, Index((*index.axes[:axis], at, *index.axes[axis + 1 :])))
            with self.over(arg, writer):
                writer.line(f"{target} = {self.read(arg, index).of(value.kind)};")


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum of products by letters."""

    factors: tuple[tuple[str, Value], ...]
    result: str
    summed: str
    sizes: Mapping[str, Dim]
    axes: Mapping[str, tuple[Value, int]]

    @classmethod
    def of(cls, value: Value) -> _Sum:
        if value.op == "reduce_sum":
            letters = "abcdefgh"[: value.args[0].rank]
            gone = integers(value.attr("axes"))
            result = "".join(letter for axis, letter in enumerate(letters) if axis not in gone)
            parts = [letters]
        else:
            left, result = str(value.attr("spec")).split("->")
            parts = left.split(",")
        factors = tuple(zip(parts, value.args, strict=True))
        found = [(letter, arg, axis) for own, arg in factors for axis, letter in enumerate(own)]
        sizes = {letter: arg.shape[axis] for letter, arg, axis in found}
        axes = {letter: (arg, axis) for letter, arg, axis in found}
        summed = "".join(letter for letter in sizes if letter not in result)
        return cls(factors, result, summed, sizes, axes)


@dataclass(frozen=True, slots=True)
class _Fold:
    starts: tuple[str, ...]
    turn: tuple[str, ...]
    result: str


def _fold(value: Value, element: Element, place: Code) -> _Fold:
    """How axes are folded: what it starts with, what a turn does, what comes out."""
    kind = Kind.INT if element.kind is Kind.BOOL and value.kind is not Kind.BOOL else element.kind
    type_, code = TYPES[kind], element.of(kind)
    whole = kind is not Kind.FLOAT
    suffix = "_int" if whole else ""
    match value.op:
        case "reduce_prod":
            return _Fold((f"{type_} folded = 1;",), (f"folded *= {code};",), "folded")
        case "reduce_any" | "reduce_all":
            start, operator = ("false", "|") if value.op == "reduce_any" else ("true", "&")
            return _Fold((f"bool folded = {start};",), (f"folded = folded {operator} {code};",), "folded")
        case "reduce_max" | "reduce_min":
            start = ("INT64_MIN" if whole else "-INFINITY") if value.op == "reduce_max" else ("INT64_MAX" if whole else "INFINITY")
            function = "maximum" if value.op == "reduce_max" else "minimum"
            return _Fold((f"{type_} folded = {start};",), (f"folded = {function}{suffix}(folded, {code});",), "folded")
        case "argmax" | "argmin":
            # The first NaN counts as the largest and as the smallest, as NumPy has it.
            sign = ">" if value.op == "argmax" else "<"
            starts = (f"{type_} best = 0;", "int64_t folded = -1;")
            turn = (
                f"const {type_} candidate = {code};",
                f"const bool better = folded < 0 || candidate {sign} best || (candidate != candidate && best == best);",
                "best = better ? candidate : best;",
                f"folded = better ? {place} : folded;",
            )
            return _Fold(starts, turn, "folded")
    raise NoKernel(f"`{value.op}` has no form in C")


def _index(names: Iterable[str]) -> Index:
    return Index(tuple(map(Code, names)))
