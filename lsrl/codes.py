"""Every diagnostic code: what it says, a program that provokes it, and how to mend it.

The table is the source of `docs/errors.md` and of the golden tests, so each example is a whole program.
"""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.codes_elaborate import NAMES, SIZES, STRUCTURE
from lsrl.codes_shapes import SHAPES
from lsrl.codes_syntax import SYNTAX_CODES
from lsrl.codes_types import CodeEntry

CODES: Mapping[str, CodeEntry] = {entry.code: entry for entry in (*SYNTAX_CODES, *NAMES, *SHAPES, *STRUCTURE, *SIZES)}
