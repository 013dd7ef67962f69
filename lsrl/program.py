"""A program as users hold it: what it needs and gives, its graph, and its meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from lsrl import elaborate
from lsrl.ir.cell import Cell, Input, Noise, Output, Param, State, check_sizes, meets_sizes, size_numbers
from lsrl.ir.dims import Dim, shape_text
from lsrl.ir.fault import Refusal
from lsrl.ir.span import LsrlError
from lsrl.latex import equations
from lsrl.loader import Loaded, is_library_name, load_source, load_text
from lsrl.syntax import Cell as CellSyntax

if TYPE_CHECKING:
    from lsrl.backends.arrays import Arrays
    from lsrl.backends.result import Result


@dataclass(frozen=True, slots=True, repr=False)
class Declared:
    """An input, parameter, state or output: its name, shape and kind, and what else its declaration says."""

    name: str
    shape: tuple[Dim, ...]
    kind: str
    note: str = ""

    def __repr__(self) -> str:
        kind = "" if self.kind == "float" else f" {self.kind}"
        return f"{shape_text(self.shape)}{kind}{self.note and f' {self.note}'}"


@dataclass(frozen=True, slots=True)
class Size:
    """A size with its default, a number or an expression of earlier sizes; None where it must be given."""

    name: str
    default: Dim | None

    def __repr__(self) -> str:
        return self.name if self.default is None else f"{self.name}={self.default}"


Item = TypeVar("Item", Declared, Size)


@dataclass(frozen=True)
class Program:
    """A program that has been read and checked.

    Its shapes are expressions of its sizes; numbers come in when it is run or compiled.

    Attributes:
        loaded: its syntax tree and what finds its imports.
        main: which of its cells is meant; None for the last.
        origin: how to name it to find it again: its file's name without folders, or `std/gru`; empty for a text.
        checked: the graph that checking it made.
    """

    loaded: Loaded = field(repr=False)
    main: str | None = None
    origin: str = ""
    checked: Cell | None = field(default=None, repr=False, compare=False)

    @cached_property
    def graph(self) -> Cell:
        """The graph with symbolic sizes; a `repeat` whose count no default gives is taken once."""
        return self._with_doc(self.checked) if self.checked is not None else self._elaborated(None)

    @property
    def has_cell(self) -> bool:
        """Whether there is anything to run; a file can define functions only."""
        return any(isinstance(item, CellSyntax) for item in self.loaded.program.items)

    @property
    def name(self) -> str:
        """The name of the cell."""
        return self.graph.name

    @property
    def doc(self) -> str:
        """The docstring of the cell, or else of the file."""
        return self.graph.doc

    @property
    def file(self) -> str:
        """The name of the file, as messages print it."""
        return self.loaded.program.source.name

    @property
    def sizes(self) -> Mapping[str, Size]:
        """The sizes in order, by name."""
        return _by_name(Size(size.name, size.default) for size in self.graph.sizes)

    @property
    def inputs(self) -> Mapping[str, Declared]:
        """The inputs, then declared noise."""
        given = [_input(declared) for declared in self.graph.inputs]
        return _by_name([*given, *(_noise(declared) for declared in self.graph.noises)])

    @property
    def params(self) -> Mapping[str, Declared]:
        """The parameters; those of cells that the program uses have dotted names."""
        return _by_name(_param(declared) for declared in self.graph.params)

    @property
    def states(self) -> Mapping[str, Declared]:
        """The states, with those that remember earlier values of a name (`x[t-1]`)."""
        return _by_name(_state(declared) for declared in self.graph.states)

    @property
    def outputs(self) -> Mapping[str, Declared]:
        """The outputs."""
        return _by_name(_output(declared) for declared in self.graph.outputs)

    def equations(self) -> str:
        """The step as LaTeX, an `aligned` environment with a row for each line."""
        cells = self.loaded.program.cells
        return equations(next(cell for cell in cells if cell.name.id == self.main) if self.main else cells[-1])

    def cell(self, sizes: Mapping[str, int] | None = None) -> Cell:
        """The graph for these sizes: shapes stay symbolic, `repeat` is unrolled.

        Raises:
            LsrlError: the program cannot be built for these sizes.
        """
        return self._elaborated(sizes) if sizes else self.graph

    def bind(self, sizes: Mapping[str, int] | None = None) -> tuple[Cell, dict[str, int]]:
        """The graph for these sizes, and the number of every size.

        Raises:
            DimError: a size is missing or unknown, or breaks a condition of the program.
        """
        bound = size_numbers(self.graph, sizes or {})
        if meets_sizes(self.graph, bound):  # the numbers that it was built for
            return self.graph, bound
        cell = self.cell(bound)
        check_sizes(cell, bound)
        return cell, bound

    def reference(
        self, params: Arrays, inputs: Arrays, state: Arrays | None = None, sizes: Mapping[str, int] | None = None
    ) -> Result:
        """What the program means: every position in order, in float64 NumPy.

        Args:
            params: parameters by name.
            inputs: inputs by name, [B, T, *shape].  Noise that is not given is drawn with the seed 0.
            state: initial states by name, [B, *shape]; missing ones start as the program says.
            sizes: the number of every size that the arrays' shapes do not tell.

        Raises:
            ArrayError: an array is missing, superfluous, or not what the program declares.
            DimError: a size is unknown, or told differently by two arrays.
        """
        # Arrays are what reading and compiling programs does without.
        from lsrl.backends import reference
        from lsrl.sizes import infer_sizes

        cell, numbers = self.bind(infer_sizes(self.graph, sizes or {}, params, inputs, state))
        return reference.run(cell, numbers, params, inputs, state)

    def _elaborated(self, sizes: Mapping[str, int] | None) -> Cell:
        syntax = self.loaded.program
        if not self.has_cell:
            raise Refusal(f"{self.file} defines functions only; there is no cell to run")
        return self._with_doc(elaborate.elaborate(syntax, cell=self.main, sizes=sizes, loader=self.loaded.loader))

    def _with_doc(self, cell: Cell) -> Cell:
        return replace(cell, doc=cell.doc or self.loaded.program.doc or "")

    def __repr__(self) -> str:
        parts = [f"{self.name}({', '.join(map(repr, self.sizes.values()))})"]
        for title in ("inputs", "params", "states", "outputs"):
            declared: Mapping[str, Declared] = getattr(self, title)
            parts += [f"  {title:<8} {', '.join(f'{name}: {d!r}' for name, d in declared.items())}"] if declared else []
        return "\n".join(parts)


def load(source: str | Path, cell: str | None = None) -> Program:
    """A program from a file or, by its name, from the library.

    Args:
        source: a path, or a name such as `std/gru`.
        cell: which cell of the file; the last one when None.

    Raises:
        LsrlError: the program is at fault; the error has every diagnostic.
        OSError: the file cannot be read.
    """
    return _checked(load_source(source), cell, str(source) if is_library_name(source) else Path(source).name)


def parse(text: str, cell: str | None = None) -> Program:
    """A program from its text; see `load`."""
    return _checked(load_text(text), cell, "")


def _checked(found: Loaded, cell: str | None, origin: str) -> Program:
    said, graph = elaborate.examine(found.program, cell=cell, loader=found.loader)
    errors = [diagnostic for diagnostic in said if diagnostic.severity == "error"]
    if errors:
        raise LsrlError(errors)
    return Program(found, cell, origin, graph)


def _by_name(items: Iterable[Item]) -> Mapping[str, Item]:
    return MappingProxyType({item.name: item for item in items})


def _input(declared: Input) -> Declared:
    kind = declared.kind.value if declared.bound is None else f"int({declared.bound})"
    return Declared(declared.name, declared.shape, kind, declared.domain.value and f"per {declared.domain}")


def _noise(declared: Noise) -> Declared:
    return Declared(declared.name, declared.shape, "float", f"noise ~ {declared.draw.name}")


def _param(declared: Param) -> Declared:
    return Declared(declared.name, declared.shape, declared.kind.value)


def _state(declared: State) -> Declared:
    return Declared(declared.name, declared.shape, declared.kind.value, "reversed" if declared.backward else "")


def _output(declared: Output) -> Declared:
    return Declared(declared.name, declared.value.shape, declared.value.kind.value)
