"""Exit statuses of the command line."""

from __future__ import annotations

from typing import Final

FINE: Final = 0
FAULT: Final = 1  # the program, or what it is to be run with
USAGE: Final = 2
BUG: Final = 3  # ours
INTERRUPTED: Final = 130  # as shells count signals
NOBODY_READS: Final = 141
