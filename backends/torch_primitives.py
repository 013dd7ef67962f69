"""Operations on whole sequences in PyTorch: how each form is called."""

from __future__ import annotations

from lsrl.backends.primitive_site import Site
from lsrl.ir.plan import Primitive


def write_primitive(stage: Primitive, site: Site) -> dict[str, str]:
    """Write the call that makes the results of a primitive; the code of the last value of each of its states."""
    match type(stage.form).__name__:
        case "ScanForm":
            from lsrl.backends.torch_primitive_scan import write_scan

            return write_scan(stage.form, stage.how, site)
        case "ChunkForm":
            from lsrl.backends.torch_primitive_chunk import write_chunk

            return write_chunk(stage.form, stage.how, site)
    raise AssertionError(f"no call is known for {type(stage.form).__name__}")
