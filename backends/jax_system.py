"""Systems of linear equations in JAX: all positions are one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call
from lsrl.backends.jax_layout import spread
from lsrl.backends.jax_place import Operand, Place, Printer, promoted
from lsrl.ir.value import Value


def _solve(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """A matrix that is the same everywhere beside right sides that differ would be taken for one of vectors."""
    varies = any(operand.varies for operand in operands)
    both = promoted(operands, value.kind, place.types)
    return call("jnp.linalg.solve", *(spread(operand, place) if varies else operand.code for operand in both))


PRINTERS: Mapping[str, Printer] = {"solve": _solve}
