"""Linear recurrences with a diagonal transition."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
