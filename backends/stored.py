"""Parameters as they are stored, which may have 16 bits, and what is computed from them, which loses too much in them.

`I + dt A` rounded to 16 bits has lost dt.
"""

from __future__ import annotations

from collections.abc import Iterable

from lsrl.backends.loop_cell import LoopCell
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Value, postorder


def is_stored(value: Value) -> bool:
    """Whether a value is a parameter, or parts of parameters."""
    parts = [value]
    while parts and (parts[-1].op == "param" or family(parts[-1].op) is Family.LAYOUT):
        parts += parts.pop().args
    return not parts


def products_with_computed(loop: LoopCell, roots: Iterable[Value]) -> frozenset[Value]:
    """The products among what a loop or its adjoint computes that have a factor which is computed before the loop."""
    names = {param.name for param, static in zip(loop.cell.params, loop.statics) if not is_stored(static)}
    return frozenset(v for v in postorder(roots) if v.op == "einsum" and any(_is_param(arg, names) for arg in v.args))


def _is_param(value: Value, names: set[str]) -> bool:
    while family(value.op) is Family.LAYOUT and len(value.args) == 1:
        (value,) = value.args
    return value.op == "param" and value.attr("name") in names
