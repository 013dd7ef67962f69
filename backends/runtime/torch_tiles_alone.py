"""What `torch_tiles_kernels` decides, in modules without kernels."""

from lsrl.backends.runtime.torch_tiles_plain import tiles_by_pytorch


def run_tiles(numbers, vectors, border, counts, sides, axes, tree):
    """What `grid_tiles` gives."""
    return tiles_by_pytorch(numbers, vectors, border, counts, sides, axes, tree)
