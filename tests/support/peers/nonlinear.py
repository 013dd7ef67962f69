"""Nonlinear cells with dense or element-wise recurrence."""

from __future__ import annotations

from support.peers.row import Row

ROWS: tuple[Row, ...] = ()
