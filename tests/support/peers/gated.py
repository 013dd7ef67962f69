"""Relatives of the LSTM and the GRU."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
