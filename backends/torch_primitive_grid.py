"""A recurrence over a grid in tiles in an emitted PyTorch module: a call of `tiled` of `runtime/torch_grid.py`."""

from __future__ import annotations

from lsrl.backends.primitive_grid import write_grid_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.grid_form_parts import GridForm
from lsrl.ir.schedules.how import How


def write_grid(form: GridForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a recurrence in tiles; the code of the last value of each of its states."""
    return write_grid_call(form, how, site, "permute")
