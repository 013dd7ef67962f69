"""Lines of a grid along one of its axes, in PyTorch: as sequences, and back."""

import math

from lsrl.backends.runtime.grid_lines import line_extent
from lsrl.backends.runtime.torch_waves import wave_order


def in_lines(tensor, extents, axis):
    """[B, places, ...] with places by wave as [B * others, places along the axis, ...]."""
    places = line_places(extents, axis, tensor.device)
    found = tensor.index_select(1, places)
    return found.reshape(*line_extent(tensor.shape[0], extents, axis), *tensor.shape[2:])


def from_lines(tensor, extents, batch, axis):
    """The inverse of `in_lines`."""
    places = line_places(extents, axis, tensor.device).argsort()
    return tensor.reshape(batch, math.prod(extents), *tensor.shape[2:]).index_select(1, places)


def line_places(extents, axis, device):
    """The places of all lines, one line after the other: their numbers by wave."""
    return wave_order(extents, device).argsort().reshape(extents).movedim(axis, -1).flatten()
