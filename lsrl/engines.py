"""Which engine runs which text; only here is a framework loaded."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from lsrl.backends.module_loader import load_module
from lsrl.engine import Engine
from lsrl.engine_reference import ReferenceEngine
from lsrl.ir.cell import Cell


def load_engine(target: str, dtype: str, cell: Cell, sizes: Mapping[str, int], source: str) -> Engine:
    """What runs a cell: the module of text `source`, or the reference, which needs none."""
    match target:
        case "jax":
            from lsrl.engine_jax import JaxEngine

            return JaxEngine(cell, dtype, load_module(source, _module_name(cell, target, source)))
        case "triton" | "cpu":
            from lsrl.engine_torch import TorchEngine

            return TorchEngine(cell, dtype, load_module(source, _module_name(cell, target, source)))
        case _:
            return ReferenceEngine(cell, sizes, dtype)


def _module_name(cell: Cell, target: str, source: str) -> str:
    """A name that modules of other text do not have: Triton keeps what it compiled by it."""
    return f"lsrl_{cell.name}_{target}_{sha256(source.encode()).hexdigest()[:12]}"
