"""Blocks of Mamba, Mamba-2, Griffin and Hawk."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
