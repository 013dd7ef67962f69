"""What an emitted PyTorch module defines before its functions: only what its text uses."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.backends.identifiers import identifiers
from lsrl.backends.kernel_functions import KERNEL_FUNCTIONS
from lsrl.backends.runtime_source import runtime
from lsrl.backends.scan_kernel_algebra import SCAN_FUNCTIONS
from lsrl.backends.torch_place import Types

IMPORTS = (
    ("atexit", "import atexit"),
    ("ctypes", "import ctypes"),
    ("functools", "import functools"),
    ("hashlib", "import hashlib"),
    ("itertools", "import itertools"),
    ("math", "import math"),
    ("os", "import os"),
    ("shlex", "import shlex"),
    ("shutil", "import shutil"),
    ("subprocess", "import subprocess"),
    ("sys", "import sys"),
    ("tempfile", "import tempfile"),
    ("warnings", "import warnings"),
    ("Any", "from typing import Any, NamedTuple"),
    ("torch", "\nimport torch"),
    ("np", "import numpy as np"),
    ("F", "import torch.nn.functional as F"),
    ("triton", "import triton"),
    ("tl", "import triton.language as tl"),
)

LATER = '''
def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = torch.cat([first[:, None], sequence], 1)
    return whole[:, :-1], whole[:, -1]
'''

EARLIER = '''
def earlier(last, sequence):
    """The sequence one position earlier, `last` at the end, and the element that falls off its front."""
    whole = torch.cat([sequence, last[:, None]], 1)
    return whole[:, 1:], whole[:, 0]
'''

WITH_PAST = '''
def with_past(first, sequence, axis, reverse=False):
    """The sequence behind the line that it joins, whose places lie along `axis`, and the line that it leaves."""
    sequence = sequence.flip(1) if reverse else sequence
    whole = torch.cat([first.movedim(1 + axis, 1), sequence], 1)
    return whole, whole[:, sequence.shape[1] :].movedim(1, 1 + axis)
'''

WINDOWED = '''
def windowed(whole, length, start, count, step, axis, reverse=False):
    """Places of a line of `length` at every position, along a new `axis`; one place, and no axis, without a `count`."""
    positions = whole.shape[1] - length
    if count is None:
        part = whole[:, start : start + positions]
    elif positions:
        reach = (count - 1) * step + 1
        part = whole[:, start : start + positions + reach - 1].unfold(1, reach, 1)[..., ::step].movedim(-1, 2 + axis)
    else:
        part = whole[:, :0].unsqueeze(2 + axis).repeat_interleave(count, 2 + axis)
    return part.flip(1) if reverse else part
'''

TAKEN = '''
def taken(tensors, name, shape, dtype):
    """A tensor by name; its shape is checked, since kernels read as much as they are made for."""
    tensor = tensors[name]
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, and should have {shape}")
    return tensor.to(dtype)
'''

STARTING = '''
def starting(params, state, EXTENT, device):
    """The initial states, with those that are given in place of the program's."""
    states, given = initial_state(params, EXTENT, device), state or {}
    if unknown := sorted(set(given) - set(states)):
        raise ValueError(f"there is no state {', '.join(unknown)}; the states are {', '.join(states)}")
    own = {name: taken(given, name, tuple(states[name].shape), states[name].dtype) for name in given}
    return states | {name: tensor.to(device) for name, tensor in own.items()}
'''

POSITIONS = '''
def positions(*reads, reverse=False):
    """What is read at each position, in the order of computation."""
    steps = list(zip(*(read.unbind(1) for read in reads)))
    return steps[::-1] if reverse else steps
'''

OVER_TIME = '''
def over_time(steps, shape, dtype, like, reverse=False):
    """What a loop kept, [B, T, *shape], from the list in the order of computation."""
    if not steps:
        return like.new_empty((like.shape[0], 0, *shape), dtype=dtype)
    return torch.stack(steps[::-1] if reverse else steps, 1)
'''

WIDENED = '''
def widened(*tensors):
    """Tensors of 16 bits in the 32 that a loop computes in."""
    return [tensor.float() for tensor in tensors]
'''

TAKE = '''
def take(table, index, axis, batch):
    """Entries of a table along `axis`, after `batch` axes that table and index share; an index outside is clamped."""
    lead, before, size, after = table.shape[:batch], table.shape[batch:axis], table.shape[axis], table.shape[axis + 1 :]
    places = index.clamp(0, size - 1).reshape(math.prod(lead), 1, math.prod(index.shape[batch:]), 1)
    flat = table.reshape(math.prod(lead), math.prod(before), size, math.prod(after))
    picked = flat.gather(2, places.expand(-1, flat.shape[1], -1, flat.shape[3]))
    return picked.reshape(*lead, *before, *index.shape[batch:], *after)
'''

SCATTER = '''
def scatter(updates, index, size, axis, batch):
    """Zeros of `size` along `axis` with updates added at their index: the transpose of `take`."""
    inner = index.shape[batch:]
    lead, before, after = updates.shape[:batch], updates.shape[batch:axis], updates.shape[axis + len(inner) :]
    flat = updates.reshape(math.prod(lead), math.prod(before), math.prod(inner), math.prod(after))
    places = index.clamp(0, size - 1).reshape(math.prod(lead), 1, math.prod(inner), 1)
    zeros = flat.new_zeros(*flat.shape[:2], size, flat.shape[3])
    return zeros.scatter_add(2, places.expand_as(flat), flat).reshape(*lead, *before, size, *after)
'''

CONV = '''
def conv(x, w, stride, padding, dilation, groups):
    """Correlation of x [..., C, *spatial] with w [O, C / groups, *kernel]; `padding` is low and high for each axis."""
    function = (F.conv1d, F.conv2d, F.conv3d)[w.ndim - 3]
    ends = [end for axis in reversed(range(w.ndim - 2)) for end in padding[2 * axis : 2 * axis + 2]]
    padded, lead = F.pad(x, ends), x.shape[: 1 - w.ndim]
    flat = padded.reshape(math.prod(lead), *padded.shape[len(lead) :])
    found = function(flat, w, None, stride, 0, dilation, groups)
    return found.reshape(*lead, *found.shape[1:])
'''

CONV_DX = '''
def conv_dx(g, w, shape, *options):
    """The transpose of `conv` in x [..., *shape]."""
    zeros = g.new_zeros(*g.shape[: 1 - w.ndim], *shape)
    return torch.func.vjp(lambda x: conv(x, w, *options), zeros)[1](g)[0]
'''

CONV_DW = '''
def conv_dw(x, g, shape, *options):
    """The transpose of `conv` in w [shape]."""
    return torch.func.vjp(lambda w: conv(x, w, *options), g.new_zeros(shape))[1](g)[0]
'''

ORTHOGONAL = '''
def orthogonal(shape, generator):
    """Uniformly distributed matrices with orthonormal rows or columns, whichever are fewer (Mezzadri 2007)."""
    *lead, rows, columns = shape
    tall = (*lead, max(rows, columns), min(rows, columns))
    q, r = torch.linalg.qr(torch.randn(tall, generator=generator, dtype=REAL))
    q = q * r.diagonal(0, -2, -1).sign()[..., None, :]
    return q if rows >= columns else q.mT
'''

UNIFORM = '''
def uniform(shape, low, high, generator):
    """Uniform between two numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=REAL)
'''

SOLVE = '''
def solve(matrix, right):
    """The X with matrix @ X = right, for matrices in the last two axes; not finite where there is none."""
    lead = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    return torch.linalg.solve_ex(matrix, right.expand(*lead, *right.shape[-2:]))[0]
'''

REGISTER = '''
def register(module, name, param):
    """A parameter under its dotted name: `layers.0.Wz` becomes the parameter Wz of module.layers.0."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_parameter(last, torch.nn.Parameter(param, requires_grad=is_smooth(param)))
'''

_FUNCTIONS: Mapping[str, str] = {
    **runtime("torch_kernels"),
    "taken": TAKEN,
    "starting": STARTING,
    "positions": POSITIONS,
    "over_time": OVER_TIME,
    "widened": WIDENED,
    "later": LATER,
    "earlier": EARLIER,
    "register": REGISTER,
    "uniform": UNIFORM,
    "orthogonal": ORTHOGONAL,
    "take": TAKE,
    "scatter": SCATTER,
    "with_past": WITH_PAST,
    "windowed": WINDOWED,
    "solve": SOLVE,
    "conv": CONV,
    "conv_dx": CONV_DX,
    "conv_dw": CONV_DW,
    **SCAN_FUNCTIONS,
    **runtime("torch_operators"),
    **runtime("torch_loop"),
    **runtime("torch_newton"),
    **runtime("torch_waves"),
    **runtime("grid_lines"),
    **runtime("torch_lines"),
    **runtime("torch_directions"),
    **runtime("graph_levels"),
    **runtime("graph_rounds"),
    **runtime("torch_levels"),
    **runtime("torch_rounds"),
    **runtime("torch_scan"),
    **runtime("torch_chunk_gram"),
    **runtime("torch_chunk_decay"),
    **runtime("triton_chunk_tiles"),
    **runtime("triton_chunk_inverse"),
    **runtime("triton_chunk"),
    **runtime("triton_chunk_launch"),
    **runtime("torch_chunk_carry"),
    **runtime("torch_chunk_plain"),
    **runtime("triton_chunk_operator"),
    **runtime("torch_chunk_kernels"),
    **runtime("torch_chunk"),
    **runtime("triton_tiles"),
    **runtime("triton_tiles_launch"),
    **runtime("grid_algebra"),
    **runtime("torch_grid_algebra"),
    **runtime("grid_tree"),
    **runtime("torch_carry_plain"),
    **runtime("torch_carry_kernels"),
    **runtime("torch_grid_carry"),
    **runtime("torch_tile_pieces"),
    **runtime("torch_tiles_plain"),
    **runtime("torch_tiles_kernels"),
    **runtime("torch_tiles"),
    **runtime("torch_grid"),
    **runtime("grid_layers"),
    **runtime("torch_elements"),
}


_NATIVE: Mapping[str, str] = {
    **runtime("native_library"),
    **_FUNCTIONS,
    **runtime("torch_chunk_alone"),
    **runtime("torch_carry_alone"),
    **runtime("torch_tiles_alone"),
    **runtime("native_products"),
}


def functions(types: Types, extent: str = "batch", *, native: bool = False) -> dict[str, str]:
    """What a module may define, with its types filled in, and with what `initial_state` is told.

    Args:
        native: its loops are C functions, and nothing in it is a Triton kernel.
    """
    known = _NATIVE if native else _FUNCTIONS
    return {name: text.replace("REAL", types.real).replace("EXTENT", extent) for name, text in known.items()}


def reserved() -> tuple[str, ...]:
    """Every identifier that a module may use for itself, whatever it is for."""
    parameters = ("params", "inputs", "outputs", "state", "seed", "batch", "length", "extents", "generator", "device")
    loops = ("at", "every", "tensors", "cotangents", "found", "advance", "lanes", "lsrl_module")
    own: tuple[str, ...] = ("init", "initial_state", "apply", "apply_statistics", "step", "SCHEDULE", "KERNELS", "DOT")
    own += (*_NATIVE, *KERNEL_FUNCTIONS)
    launch = ("kernel", "grid", "warmup", "num_warps", "num_stages", "num_ctas", "maxnreg", "enable_fp_fusion", "ctx")
    builtins = ("float", "int", "bool", "max", "min", "abs", "complex", "range", "dict", "set", "sorted", "zip", "list")
    return (*parameters, *loops, *own, *launch, *builtins, *(name for name, _ in IMPORTS))


def imports(text: str) -> str:
    """The import lines that the text needs, the standard library's first."""
    used = identifiers(text)
    return "\n".join(line for name, line in IMPORTS if name in used).strip()
