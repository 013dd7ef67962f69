"""What a file defines: functions, cells, constants and other modules, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from lsrl import syntax
from lsrl.ir.span import Span


@dataclass(eq=False)
class Module:
    """A file with its names.

    Attributes:
        program: its syntax tree.
        library: it belongs to `std`, so its lines are not what a user should look at.
        table: what each name stands for; imported names included.
    """

    program: syntax.Program
    library: bool
    table: dict[str, Definition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class FunctionTerm:
    """A `def`, with the module it is written in."""

    node: syntax.Function
    module: Module


@dataclass(frozen=True, slots=True, eq=False)
class CellTerm:
    """A `cell`, with the module it is written in."""

    node: syntax.Cell
    module: Module


@dataclass(frozen=True, slots=True, eq=False)
class ConstTerm:
    """A `const` at the top level, with the module it is written in."""

    node: syntax.Const
    module: Module


@dataclass(frozen=True, slots=True, eq=False)
class ModuleTerm:
    """A module, or a folder of modules, by its dotted path."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Missing:
    """What could not be imported; that has been reported."""


Definition = Union[FunctionTerm, CellTerm, ConstTerm, ModuleTerm, Missing]  # noqa: UP007


def place_of(definition: Definition) -> Span | None:
    """Where a definition is written."""
    match definition:
        case ModuleTerm() | Missing():
            return None
        case FunctionTerm() | CellTerm() | ConstTerm():
            return definition.node.name.span
