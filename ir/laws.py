"""The rule sets: laws that hold bit for bit, and laws that hold for real numbers.

`simplify` applies the exact ones; a schedule that may reorder sums asks for both.
"""

from __future__ import annotations

import os

from lsrl.ir import fold, laws_arithmetic, laws_layout, laws_padding
from lsrl.ir.cell import Cell
from lsrl.ir.rewrite import Law, Watch, rewrite
from lsrl.ir.verify import check

FOLDING: tuple[Law, ...] = (
    fold.exact_constants,
    fold.floating_constants,
    fold.known_points,
    fold.multiples_of_pi,
    fold.angles,
    fold.sizes,
)
EXACT: tuple[Law, ...] = (*FOLDING, *laws_arithmetic.EXACT, *laws_layout.EXACT)
REASSOCIATING: tuple[Law, ...] = (
    *laws_arithmetic.REASSOCIATING,
    *laws_layout.REASSOCIATING,
    *laws_padding.PADDING,
)


def simplify(cell: Cell, watch: Watch | None = None) -> Cell:
    """The cell rewritten by the exact laws.  With `LSRL_VERIFY=1` in the environment both cells are verified.

    Raises:
        BrokenCell: verification found a problem.
    """
    verifying = os.environ.get("LSRL_VERIFY") == "1"
    if verifying:
        check(cell)
    simple = rewrite(cell, EXACT, watch)
    return check(simple) if verifying else simple
