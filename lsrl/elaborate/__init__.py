"""The elaborator: from a program's syntax tree to the graph of one step, with every mistake found on the way."""

from lsrl.elaborate.program import check, elaborate, examine

__all__ = ["check", "elaborate", "examine"]
