"""Where an emitted module calls an operation on whole sequences: what whoever prints the call can ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lsrl.backends.expressions import Code
from lsrl.backends.naming import Names
from lsrl.backends.writer import Writer
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a function of whole sequences.

    Attributes:
        writer: where the call goes.
        names: identifiers of the module.
        numbers: the number of every size.
        starts: the code of the initial state [B, *shape] of every state.
        code: an operand as an expression: [B, T, *shape] where it varies, [*shape] where it is the same everywhere.
        whole: an operand as an expression of shape [B, T, *shape] in any case.
        varies: whether a value differs between positions or sequences.
        bind: makes a result known under its name, which it returns.
    """

    writer: Writer
    names: Names
    numbers: Mapping[str, int]
    starts: Mapping[str, str]
    code: Callable[[Value], Code]
    whole: Callable[[Value], Code]
    varies: Callable[[Value], bool]
    bind: Callable[[Value], str]
