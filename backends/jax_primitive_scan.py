"""A scan in an emitted JAX module: a call of a function of `backends/runtime/jax_scan.py`."""

from __future__ import annotations

from lsrl.backends.primitive_scan import write_scan_call
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.how import How
from lsrl.ir.schedules.scan_form import ScanForm

JOINS = {"max": "jnp.maximum", "min": "jnp.minimum", "logaddexp": "jnp.logaddexp"}


def write_scan(form: ScanForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a scan; the code of the last value of each state."""
    return write_scan_call(form, site, JOINS)
