"""Published checkpoints as parameters of the library's models: `load` a directory, or `convert` tensors."""

from __future__ import annotations

from lsrl.checkpoints.convert import Checkpoint, CheckpointError, convert
from lsrl.checkpoints.directory import load

__all__ = ["Checkpoint", "CheckpointError", "convert", "load"]
