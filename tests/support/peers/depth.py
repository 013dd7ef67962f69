"""Recurrence in depth, over segments, and over sets."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
