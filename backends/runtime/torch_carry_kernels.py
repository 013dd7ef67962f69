"""Where the waves of `grid_carry` run in Triton kernels; `torch_carry_alone` is for modules without kernels."""

import torch

from lsrl.backends.runtime.torch_carry_plain import carry_plainly, carry_rows
from lsrl.backends.runtime.torch_kernels import runs_kernels
from lsrl.backends.runtime.torch_waves import wave_runs
from lsrl.backends.runtime.triton_tiles_launch import launch_carry_wave


def carry_waves(join, maps, added, states, counts, axes, widths, reverse):
    """The waves of `grid_carry`, into the room `states` that has the border."""
    grid = (counts, axes, widths, reverse)
    if join != "add" or added.dtype != torch.float32 or not runs_kernels(added):
        carry_plainly(join, maps, added, states, *grid)
        return
    rows, given = carry_rows(*grid, added.device), (maps, added.contiguous(), states)
    for first, count in wave_runs(counts, reverse):
        launch_carry_wave(*given, rows, first, count)
