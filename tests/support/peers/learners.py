"""Test-time learners, and linear recurrences with structured transitions."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
