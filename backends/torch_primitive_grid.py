"""A recurrence over a grid in an emitted PyTorch module: calls of `runtime/torch_grid.py` and `torch_elements.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.module_header import in_words
from lsrl.backends.primitive_grid import Words, write_grid_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.plan import Primitive
from lsrl.ir.schedules.grid_cost import tile_work
from lsrl.ir.schedules.grid_form import tile_side
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_form_parts import GridForm
from lsrl.ir.schedules.how import How, Tiles, Tree
from lsrl.ir.value import Kind

MOST_ROWS, MOST_EDGES = 64, 16  # that `tile_kernels_serve` of `runtime/triton_tiles_launch.py` finds in a tile


def write_grid(stages: Sequence[Primitive], site: Site) -> dict[str, str]:
    """Write the call that runs recurrences in tiles; the code of the last value of each of their states."""
    return write_grid_call(stages, site, Words("permute", "torch.stack", "functools.partial"))


def tiles_in_words(form: GridForm, how: How, sizes: Mapping[str, int], dtype: str) -> str:
    """How a recurrence in tiles runs on a GPU, and why not in kernels where it does not."""
    asked = how.side if isinstance(how, Tiles | Tree) else None
    side = asked or tile_side(form.states, sizes)
    if dtype == "float64":
        return f"{in_words(how)} in plain PyTorch: kernels compute in float32"
    place = tile_work(form, sizes)
    rows = side**form.rank * max(place.products, place.reads)
    reasons = {
        "kernels go from tile to tile": isinstance(how, Tree),
        f"a tile has {rows} reads or outer products, and a kernel holds {MOST_ROWS}": rows > MOST_ROWS,
        f"a tile has more than {MOST_EDGES} edges": place.states * side ** (form.rank - 1) > MOST_EDGES,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    return f"{in_words(how)}, products in plain PyTorch: {reason}" if reason else in_words(how)


def elements_in_words(form: ElementForm, how: How, dtype: str) -> str:
    """How a recurrence runs in tiles element by element on a GPU: a kernel adds up numbers there, and nothing else."""
    reasons = {
        "kernels go from tile to tile": isinstance(how, Tree),
        f"a kernel has no sums over {form.scan.join}": form.scan.join != "add",
        "kernels compute in float32": dtype == "float64" or form.scan.states[0].kind is not Kind.FLOAT,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    return f"{in_words(how)} in plain PyTorch: {reason}" if reason else in_words(how)
