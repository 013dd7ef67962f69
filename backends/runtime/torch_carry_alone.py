"""What `torch_carry_kernels` decides, in modules without kernels."""

from lsrl.backends.runtime.torch_carry_plain import carry_plainly


def carry_waves(join, maps, added, states, counts, axes, widths, reverse):
    """The waves of `grid_carry`, into the room `states` that has the border."""
    carry_plainly(join, maps, added, states, counts, axes, widths, reverse)
