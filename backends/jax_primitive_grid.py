"""A recurrence over a grid in tiles in an emitted JAX module: a call of a function of `backends/runtime`."""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.backends.primitive_grid import Words, write_elements_call, write_grid_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.plan import Primitive
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.how import How


def write_grid(stages: Sequence[Primitive], site: Site) -> dict[str, str]:
    """Write the call that runs recurrences in tiles; the code of the last value of each of their states."""
    return write_grid_call(stages, site, Words("transpose", "jnp.stack", "partial"))


def write_elements(form: ElementForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a recurrence element by element; the code of the last value of each of its states."""
    return write_elements_call(form, how, site)
