"""A recurrence over a grid in tiles in an emitted PyTorch module: a call of `tiled` of `runtime/torch_grid.py`."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.backends.module_header import in_words
from lsrl.backends.primitive_grid import Words, write_grid_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.grid_cost import tile_work
from lsrl.ir.schedules.grid_form import tile_side
from lsrl.ir.schedules.grid_form_parts import GridForm
from lsrl.ir.schedules.how import How, Tiles

MOST_ROWS, MOST_EDGES = 64, 16  # that `tile_kernels_serve` of `runtime/triton_tiles_launch.py` finds in a tile


def write_grid(form: GridForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a recurrence in tiles; the code of the last value of each of its states."""
    return write_grid_call(form, how, site, Words("permute", "torch.stack"))


def tiles_in_words(form: GridForm, how: How, sizes: Mapping[str, int], dtype: str) -> str:
    """How a recurrence in tiles runs on a GPU, and why not in kernels where it does not."""
    asked = how.side if isinstance(how, Tiles) else None
    side = asked or tile_side(form.states, sizes)
    if dtype == "float64":
        return f"{in_words(how)} in plain PyTorch: kernels compute in float32"
    place = tile_work(form, sizes)
    rows = side**form.rank * max(place.products, place.reads)
    reasons = {
        f"a tile has {rows} reads or outer products, and a kernel holds {MOST_ROWS}": rows > MOST_ROWS,
        f"a tile has more than {MOST_EDGES} edges": place.states * side ** (form.rank - 1) > MOST_EDGES,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    return f"{in_words(how)}, products in plain PyTorch: {reason}" if reason else in_words(how)
