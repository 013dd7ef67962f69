"""Collecting what is wrong with a program: each fact once, at its place, without consequences of what was said."""

from __future__ import annotations

from dataclasses import dataclass, field

from lsrl.ir.fault import Fault
from lsrl.ir.span import Diagnostic, Span

MOST_DIAGNOSTICS = 100


@dataclass
class Misplaced(Fault):
    """A fault whose place is not the expression being built, but a part of it or a declaration elsewhere."""

    span: Span | None = None


class Poisoned(Exception):
    """An operand is wrong and has been reported: its users say nothing."""


class Stop(Exception):
    """A limit is exceeded; going on would only take time."""


@dataclass
class Report:
    """The diagnostics of one run, in the order found; what was said of a place is not said again."""

    said: dict[tuple[str, str, Span | None], Diagnostic] = field(default_factory=dict)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(self.said.values())

    def add(self, diagnostic: Diagnostic) -> None:
        self.said.setdefault((diagnostic.code, diagnostic.message, diagnostic.span), diagnostic)
        if len(self.said) >= MOST_DIAGNOSTICS:
            raise Stop

    def fault(self, fault: Fault, span: Span | None, notes: tuple[str, ...] = ()) -> None:
        """A fault at `span`, or at its own place where it has one."""
        place = fault.span if isinstance(fault, Misplaced) and fault.span is not None else span
        self.add(Diagnostic(fault.code, fault.message, place, fault.found, fault.expected, fault.remedy, notes=notes))

    def warn(self, code: str, message: str, span: Span, remedy: str | None = None) -> None:
        self.add(Diagnostic(code, message, span, remedy=remedy, severity="warning"))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity == "error")

    def sorted(self) -> tuple[Diagnostic, ...]:
        """By file and place."""
        return tuple(sorted(self.diagnostics, key=_place))

    def mark(self) -> int:
        """A point to go back to with `forget`."""
        return len(self.said)

    def forget(self, mark: int) -> None:
        """Drop what was added after `mark`."""
        self.said = dict(list(self.said.items())[:mark])


def _place(diagnostic: Diagnostic) -> tuple[str, int, int]:
    span = diagnostic.span
    return (span.file, span.line, span.column) if span else ("", 0, 0)
