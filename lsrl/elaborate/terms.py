"""What an expression can stand for: a value, a diagonal matrix, several values, or something that is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Union

from lsrl.elaborate.definitions import CellTerm, FunctionTerm, ModuleTerm
from lsrl.ir.build import Diag
from lsrl.ir.dims import Dim
from lsrl.ir.value import Kind, Value


class Poison(Enum):
    """Stands for what is wrong and has been reported."""

    POISON = "poison"


POISON = Poison.POISON


@dataclass(frozen=True, slots=True)
class Several:
    """The parts of `split`, the values of a function with several results."""

    items: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """The outputs of a used cell by name, in order."""

    cell: str
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Text:
    """A string: the specification of an einsum, a padding."""

    text: str


@dataclass(frozen=True, slots=True)
class BuiltinTerm:
    """A function of the language itself."""

    name: str


Callee = Union[FunctionTerm, CellTerm, BuiltinTerm]  # noqa: UP007
Term = Union[Value, Diag, Several, Record, Text, Callee, ModuleTerm, Poison]  # noqa: UP007


def described(term: Term) -> str:
    """What a term is, for messages."""
    match term:
        case Value() | Diag():
            return "a value"
        case Several(items):
            return f"{len(items)} values"
        case Record(cell, fields):
            return f"the outputs of `{cell}` ({', '.join(fields)})"
        case Text():
            return "a text"
        case CellTerm(node):
            return f"the cell `{node.name.id}`"
        case FunctionTerm(node):
            return f"the function `{node.name.id}`"
        case BuiltinTerm(name):
            return f"the function `{name}`"
        case ModuleTerm(path):
            return f"the module {'.'.join(path)}"
        case Poison():
            return "nothing"


def size_in(term: Term) -> Dim | None:
    """The size that a value is: a whole number or an expression of sizes; None for every other value."""
    match term:
        case Value("size", _, (("dim", Dim() as dim),)):
            return dim
        case Value("const", _, (("value", int() as number),), ()) if term.kind is Kind.INT:
            return Dim.of(number)
    return None
