"""Names in a cell or function: what each stands for, and what was probably meant when there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum

from lsrl.elaborate.terms import Term
from lsrl.ir.fault import Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Domain, Kind, Value


class Role(StrEnum):
    """How a name came to be."""

    SIZE = "size"
    CONST = "constant"
    INPUT = "input"
    PARAM = "param"
    STATE = "state"
    NOISE = "noise"
    LOCAL = "name"
    ARGUMENT = "argument"
    COUNTER = "number of the turn"
    HEAD = "number of the head"


@dataclass
class Slot:
    """A state under construction.

    Attributes:
        name: its full, dotted name.
        arriving: the value that arrives along each of its axes.
        next: what it passes on, once that is defined.
    """

    name: str
    kind: Kind
    domain: Domain
    axes: tuple[str, ...]
    init: Value
    arriving: dict[str, Value]
    span: Span
    next: Value | None = None
    updated_at: Span | None = None
    poisoned: bool = False


@dataclass
class Binding:
    """A name: its role, what it stands for, where it was bound; `pad` is an input's value before the start."""

    role: Role
    term: Term
    span: Span
    slot: Slot | None = None
    pad: Value | None = None
    used: bool = False


@dataclass
class Scope:
    """Names of one block; names it lacks are looked for in `parent`."""

    parent: Scope | None = None
    names: dict[str, Binding] = field(default_factory=dict)

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def owner(self, name: str) -> Scope:
        """The scope that has `name`; this one when none has."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope
            scope = scope.parent
        return self

    def visible(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.parent


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` probably is, or None."""
    names = sorted(set(known))
    folded = {known_name.lower(): known_name for known_name in names}
    if name.lower() in folded:
        return folded[name.lower()]
    found = get_close_matches(name, names, n=5, cutoff=0.6)
    same_letters = [close for close in found if sorted(close) == sorted(name)]
    return next(iter([*same_letters, *found]), None)


def unknown(code: str, what: str, name: str, known: Iterable[str]) -> Fault:
    """The fault of a name that nothing has, with the nearest one as a remedy."""
    guess = nearest(name, known)
    return Fault(code, f"there is no {what} `{name}`", remedy=f"did you mean `{guess}`?" if guess else None)
