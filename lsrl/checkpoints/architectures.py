"""The architectures that there are tables for."""

from __future__ import annotations

from lsrl.checkpoints import mamba, mamba2, recurrent_gemma, rwkv, xlstm
from lsrl.checkpoints.table import Architecture

ARCHITECTURES: tuple[Architecture, ...] = (
    mamba.MAMBA,
    mamba2.MAMBA2,
    recurrent_gemma.GRIFFIN,
    recurrent_gemma.HAWK,
    rwkv.RWKV,
    rwkv.RWKV_TIED,
    xlstm.XLSTM,
)
