"""Results of experiments as Parquet, for those who read them with pandas, Polars or DuckDB."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from lsrl.backends.weights.faults import needed
from lsrl.files import write_bytes
from lsrl.icl_sweeps import Entry, Row

with needed("Parquet", "lsrl[parquet]"):
    import pyarrow as pa
    import pyarrow.parquet as pq


def write_parquet(rows: Sequence[Row], columns: Sequence[str], path: Path) -> None:
    """Write rows with the columns of their CSV: whole numbers as int64, other numbers as double, else text."""
    arrays = {name: _array([row[name] for row in rows]) for name in columns}
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer)
    write_bytes(path, buffer.getvalue())


def _array(entries: Sequence[Entry]) -> pa.Array:
    kinds = {type(entry) for entry in entries}
    if kinds == {int}:
        return pa.array(entries, pa.int64())
    if kinds <= {int, float}:
        return pa.array([float(entry) for entry in entries], pa.float64())
    return pa.array([str(entry) for entry in entries], pa.string())
