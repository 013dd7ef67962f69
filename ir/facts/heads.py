"""The axes of a state that are heads: whatever its next value is made of has them too.

`W @ x` makes a vector out of another one, so its axis is no head; `W[n, i, j] x[n, j]` does for each n something of
its own, so n is.  The identity matrix is the same for all, and only gives axes other names.  The walk goes from the
next value down through operations that tell which axis is which, and ends at leaves and at those that do not (a
reshape).
"""

from __future__ import annotations

from lsrl.ir.cell import State
from lsrl.ir.facts.matrices import is_eye
from lsrl.ir.facts.relations import Reach, moves
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value

TELLING = ("transpose", "expand")


def heads(state: State, lanes: tuple[int, ...]) -> frozenset[int]:
    """Those of the axes `lanes`, along which elements never meet, that every operand has as well."""
    return frozenset(axis for axis in lanes if _everywhere(state.next, axis))


def _everywhere(root: Value, axis: int) -> bool:
    seen: set[tuple[Value, int]] = set()
    stack = [(root, axis)]
    while stack:
        value, place = stack.pop()
        if (value, place) in seen or not _tells(value):
            continue
        seen.add((value, place))
        for arg in value.args:
            found = [own for own, reach in moves(value, arg).items() if reach == Reach(place)]
            if arg.rank and not found and not is_eye(arg):
                return False
            stack.extend((arg, own) for own in found)
    return True


def _tells(value: Value) -> bool:
    telling = (Family.ELEMENTWISE, Family.CONTRACTION, Family.REDUCTION)
    return value.op in TELLING or family(value.op) in telling
