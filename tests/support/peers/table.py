"""Every program of the library with an implementation that was not written here, by family."""

from __future__ import annotations

from collections.abc import Mapping

from support.peers import (
    blocks_attention,
    blocks_plstm,
    blocks_ssm,
    classics,
    convolution,
    depth,
    diagonal,
    gated,
    graphs,
    grids,
    learners,
    matrix,
    nonlinear,
)
from support.peers.row import Row

FAMILIES: Mapping[str, tuple[Row, ...]] = {
    "Classic cells": classics.ROWS,
    "Diagonal linear recurrences": diagonal.ROWS,
    "Matrix states": matrix.ROWS,
    "Test-time learners and structured transitions": learners.ROWS,
    "Nonlinear cells": (*nonlinear.ROWS, *gated.ROWS),
    "Convolution and finite memory": convolution.ROWS,
    "Depth, segments and sets": depth.ROWS,
    "Grids and graphs": (*grids.ROWS, *graphs.ROWS, *blocks_plstm.ROWS),
    "Blocks": (*blocks_ssm.ROWS, *blocks_attention.ROWS),
}
ROWS = tuple(row for rows in FAMILIES.values() for row in rows)
