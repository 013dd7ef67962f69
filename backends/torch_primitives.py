"""Operations on whole sequences in PyTorch: how each form is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lsrl.backends.primitive_grid import write_elements_call
from lsrl.backends.primitive_line import write_lines
from lsrl.backends.primitive_site import Site
from lsrl.backends.torch_primitive_chunk import write_chunk
from lsrl.backends.torch_primitive_grid import write_grid
from lsrl.backends.torch_primitive_scan import write_scan
from lsrl.ir.plan import Primitive
from lsrl.ir.schedules.chunk_form_parts import ChunkForm
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_form_parts import GridForm
from lsrl.ir.schedules.line_form import LineForm
from lsrl.ir.schedules.scan_form import ScanForm


def write_primitive(stages: Sequence[Primitive], site: Site) -> dict[str, str]:
    """Write the call that makes the results of a primitive; the code of the last value of each of its states.

    Args:
        stages: the primitive, or several in the same tiles, all of which the call runs.
    """
    stage, *_ = stages
    match stage.form:
        case ScanForm() as form:
            return write_scan(form, stage.how, site)
        case ChunkForm() as form:
            return write_chunk(form, stage.how, site)
        case GridForm():
            return write_grid(stages, site)
        case ElementForm() as form:
            return write_elements_call(form, stage.how, site)
        case LineForm() as form:
            along = replace(stage, form=form.along)
            return write_lines(form, site, lambda inner: write_primitive([along], inner))
        case form:
            raise AssertionError(f"no call is known for {type(form).__name__}")
