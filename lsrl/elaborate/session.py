"""One run of the elaborator: the limits of the whole, what was read and built so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.definitions import CellTerm
from lsrl.elaborate.modules import Modules
from lsrl.elaborate.report import Report, Stop
from lsrl.elaborate.terms import Poison
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Value

MOST_TURNS = 10_000
MOST_VALUES = 50_000
DEEPEST_INLINING = 50
DEEPEST_EXPRESSION = 80

Numbers = Mapping[str, int]
CellMaker = Callable[["Session", CellTerm, Numbers, bool], Cell | None]


@dataclass
class Session:
    """Everything that lives longer than one cell.

    Attributes:
        make: elaborates a cell for given numbers of its sizes (those that are known).
        cells: what `make` gave; None for a cell that is at fault.
        constants: of modules, by syntax node; None while one is being computed.
        open: the cells being elaborated, outermost first.
        turns, values: how many turns of `repeat` and expressions there were, against the limits.
        depth: how many expressions are being evaluated one inside the other.
    """

    report: Report
    modules: Modules
    make: CellMaker
    cells: dict[tuple[int, tuple[tuple[str, int], ...], bool], Cell | None] = field(default_factory=dict)
    constants: dict[int, Value | Poison | None] = field(default_factory=dict)
    open: list[CellTerm] = field(default_factory=list)
    turns: int = 0
    values: int = 0
    depth: int = 0

    def cell(self, term: CellTerm, numbers: Numbers, span: Span, held: bool = False) -> Cell | None:
        """The graph of a cell, built once for the same numbers; None when it is at fault, which has been reported.

        Args:
            held: it is used where `hold when` stands, and so has one more input, which says when.
        """
        key = (id(term.node), tuple(sorted(numbers.items())), held)
        if key in self.cells:
            return self.cells[key]
        if any(other.node is term.node for other in self.open):
            chain = " → ".join(other.node.name.id for other in (*self.open, term))
            raise Fault(code.RECURSION, f"the cell `{term.node.name.id}` uses itself", chain)
        if len(self.open) >= DEEPEST_INLINING:
            raise Fault(code.TOO_DEEP, f"cells are used inside cells more than {DEEPEST_INLINING} deep")
        self.open.append(term)
        try:
            self.cells[key] = self.make(self, term, numbers, held)
        finally:
            self.open.pop()
        return self.cells[key]

    def count_values(self, number: int, span: Span) -> None:
        """Count expressions; ends the run where there are too many."""
        self.values += number
        if self.values > MOST_VALUES:
            message = f"the program comes to more than {MOST_VALUES:,} operations"
            self.stop(Fault(code.TOO_MANY_VALUES, message, remedy="use fewer turns or copies"), span)

    def count_turns(self, number: int, span: Span) -> None:
        """Count turns of `repeat`, before they are taken; ends the run where there are too many."""
        self.turns += number
        if self.turns > MOST_TURNS:
            message = f"the program repeats more than {MOST_TURNS:,} times"
            self.stop(Fault(code.TOO_MANY_TURNS, message, f"{number:,} turns here"), span)

    def stop(self, fault: Fault, span: Span) -> None:
        """Report a fault that ends the run."""
        self.report.fault(fault, span)
        raise Stop
