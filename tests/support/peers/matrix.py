"""Matrix states: linear attention and the delta rules."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
