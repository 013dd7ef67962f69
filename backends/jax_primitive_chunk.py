"""A recurrence in chunks in an emitted JAX module: a call of `chunked` of `backends/runtime/jax_chunk.py`."""

from __future__ import annotations

from lsrl.backends.primitive_chunk import write_chunk_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.chunk_form_parts import ChunkForm
from lsrl.ir.schedules.chunk_size import balanced_size
from lsrl.ir.schedules.how import Chunk, How


def write_chunk(form: ChunkForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a recurrence in chunks; the code of its state's last value."""
    known = Chunk(balanced_size(form, site.numbers)) if how == Chunk() else how
    return write_chunk_call(form, known, site, "transpose")
