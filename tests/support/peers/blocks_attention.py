"""Blocks of RWKV, xLSTM and gated linear attention."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
