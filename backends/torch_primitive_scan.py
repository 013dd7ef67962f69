"""A scan in an emitted PyTorch module: a call of a function of `backends/runtime/torch_scan.py`."""

from __future__ import annotations

from lsrl.backends.primitive_scan import write_scan_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.how import How
from lsrl.ir.schedules.scan_form import ScanForm

JOINS = {"max": "torch.maximum", "min": "torch.minimum", "logaddexp": "torch.logaddexp"}


def write_scan(form: ScanForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a scan; the code of the last value of each state."""
    return write_scan_call(form, site, JOINS)
