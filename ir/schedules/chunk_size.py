"""How many positions a chunk has when nobody says: so many that what is done within chunks costs what states cost.

Multiplications per position and lane, with K rows, V columns, M readers, J keys and C positions in a chunk: those with
the state are K V (2 + 2 M), those between rows of a chunk C ((1 + M) J K + (J + 2 M) V + M^2 K) (Yang et al., 2024,
"Parallelizing linear transformers with the delta rule", section 3, for any number of readers and keys).  Longer chunks
are work, shorter ones are steps that wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.ir.schedules.chunk_form_parts import ChunkForm

CHUNKS = (16, 32, 64, 128)


def balanced_size(form: ChunkForm, sizes: Mapping[str, int]) -> int:
    """The longest of the usual chunks within which there is not more work than with the states."""
    rows = form.rows.evaluate(sizes)
    columns = 1 if form.columns is None else form.columns.evaluate(sizes)
    readers, keys = len(form.step.readers), len(form.step.keys)
    with_states = rows * columns * (2 + 2 * readers)
    within = (1 + readers) * keys * rows + (keys + 2 * readers) * columns + readers**2 * rows
    return max([CHUNKS[0], *(size for size in CHUNKS if size * within <= with_states)])
