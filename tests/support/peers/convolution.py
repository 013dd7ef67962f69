"""Convolutions: of the state, and as a finite memory."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
