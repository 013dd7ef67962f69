"""A recurrence in chunks in an emitted PyTorch module: a call of `chunked` of `backends/runtime/torch_chunk.py`."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.backends.primitive_chunk import ROWS, write_chunk_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.chunk_form_parts import ChunkForm, Side
from lsrl.ir.schedules.how import Chunk, How
from lsrl.ir.value import Kind


def write_chunk(form: ChunkForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a recurrence in chunks; the code of its state's last value."""
    return write_chunk_call(form, how, site, "permute")


def without_kernels(form: ChunkForm, how: How, sizes: Mapping[str, int], dtype: str) -> str:
    """Why no kernel serves a recurrence, so that PyTorch runs it on a GPU too: as `chunk_kernels_serve` finds there."""
    size = (how.size or ROWS) if isinstance(how, Chunk) else None
    step, terms = form.step, [term for read in form.reads for term in read.terms]
    reasons = {
        "its state is complex": form.state.kind is Kind.COMPLEX,
        "kernels compute in float32": dtype == "float64",
        "it decays along columns": step.decay_columns is not None,
        "several readers meet several keys": min(len(step.readers), len(step.keys)) > 1,
        "it is read along columns": any(term.side is Side.COLUMNS for term in terms),
        "a tile holds 64 positions at most": size is None or size > ROWS,
        "tiles are of powers of two": size is not None and bool(size & (size - 1)),
        "a state of more than 256 rows has no tile": form.rows.evaluate(sizes) > 256,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
