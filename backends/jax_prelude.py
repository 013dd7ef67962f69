"""What an emitted JAX module defines before its functions: only what its text uses."""

from __future__ import annotations

from lsrl.backends.identifiers import identifiers, reached
from lsrl.backends.jax_place import Types
from lsrl.backends.runtime_source import runtime

IMPORTS = (
    ("math", "import math"),
    ("partial", "from functools import partial"),
    ("Any", "from typing import Any, NamedTuple"),
    ("jax", "\nimport jax"),
    ("jnp", "import jax.numpy as jnp"),
    ("np", "import numpy as np"),
    ("lax", "from jax import lax"),
)

EXACT_EINSUM = 'partial(jnp.einsum, precision="highest")  # accelerators would round the factors'

OVER_TIME = '''
def over_time(advance, state, reads, **options):
    """`lax.scan` along axis 1: (last state, what `advance` keeps of every position)."""
    reads = jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), reads)
    state, kept = lax.scan(advance, state, reads, **options)
    return state, jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), kept)
'''

LATER = '''
def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = jnp.concatenate([first[:, None], sequence], axis=1)
    return whole[:, :-1], whole[:, -1]
'''

EARLIER = '''
def earlier(last, sequence):
    """The sequence one position earlier, `last` at the end, and the element that falls off its front."""
    whole = jnp.concatenate([sequence, last[:, None]], axis=1)
    return whole[:, 1:], whole[:, 0]
'''

WITH_PAST = '''
def with_past(first, sequence, axis, reverse=False):
    """The sequence behind the line that it joins, whose places lie along `axis`, and the line that it leaves."""
    sequence = jnp.flip(sequence, 1) if reverse else sequence
    whole = jnp.concatenate([jnp.moveaxis(first, 1 + axis, 1), sequence], axis=1)
    return whole, jnp.moveaxis(whole[:, sequence.shape[1] :], 1, 1 + axis)
'''

WINDOWED = '''
def windowed(whole, length, start, count, step, axis, reverse=False):
    """Places of a line of `length` at every position, along a new `axis`; one place, and no axis, without a `count`."""
    positions = whole.shape[1] - length
    if count is None:
        part = whole[:, start : start + positions]
    elif count <= 16:
        places = range(start, start + count * step, step)
        part = jnp.stack([whole[:, place : place + positions] for place in places], axis=2 + axis)
    else:
        places = jnp.arange(positions)[:, None] + start + step * jnp.arange(count)
        part = jnp.moveaxis(whole[:, places], 2, 2 + axis)
    return jnp.flip(part, 1) if reverse else part
'''

STARTING = '''
def starting(params, state, *extent):
    """The initial states, with those that are given in place of the program's."""
    states = initial_state(params, *extent)
    if unknown := sorted(set(state or {}) - set(states)):
        raise ValueError(f"there is no state {', '.join(unknown)}; the states are {', '.join(states)}")
    return {name: jnp.asarray((state or {}).get(name, first), first.dtype) for name, first in states.items()}
'''

NOISE_KEY = '''
def noise_key(key, name, number):
    """The random key of one noise."""
    if key is None:
        raise ValueError(f"the noise {name} is not among the inputs, and without `key` it cannot be drawn")
    return jax.random.fold_in(key, number)
'''

TAKE = '''
def take(table, index, axis, batch):
    """Entries of a table along `axis`, after `batch` axes that table and index share; an index outside is clamped."""
    function = partial(jnp.take, axis=axis - batch, mode="clip")
    for _ in range(batch):
        function = jax.vmap(function)
    return function(table, index)
'''

SCATTER = '''
def scatter(updates, index, size, axis, batch):
    """Zeros of `size` along `axis` with updates added at their index: the transpose of `take`."""
    shape = (*updates.shape[:axis], size, *updates.shape[axis + index.ndim - batch :])
    picked = partial(take, index=index, axis=axis, batch=batch)
    return jax.linear_transpose(picked, jnp.zeros(shape, updates.dtype))(updates)[0]
'''

CONV = '''
def conv(x, w, padding, stride=None, dilation=None, groups=1):
    """Correlation of x [..., C, *spatial] with w [O, C / groups, *kernel]."""
    lead, image = x.shape[: 1 - w.ndim], x.shape[1 - w.ndim :]
    stride = stride or (1,) * (w.ndim - 2)
    options = dict(rhs_dilation=dilation, feature_group_count=groups, precision="highest")
    y = lax.conv_general_dilated(x.reshape(math.prod(lead), *image), w, stride, padding, **options)
    return y.reshape(*lead, *y.shape[1:])
'''

CONV_DX = '''
def conv_dx(g, w, shape, **options):
    """The transpose of `conv` in x [shape]."""
    return jax.linear_transpose(lambda x: conv(x, w, **options), jnp.zeros(shape, g.dtype))(g)[0]
'''

CONV_DW = '''
def conv_dw(x, g, shape, **options):
    """The transpose of `conv` in w [shape]."""
    return jax.linear_transpose(lambda w: conv(x, w, **options), jnp.zeros(shape, g.dtype))(g)[0]
'''

FUNCTIONS = {
    "starting": STARTING,
    "over_time": OVER_TIME,
    "later": LATER,
    "with_past": WITH_PAST,
    "windowed": WINDOWED,
    "earlier": EARLIER,
    "noise_key": NOISE_KEY,
    "scatter": SCATTER,
    "take": TAKE,
    "conv_dx": CONV_DX,
    "conv_dw": CONV_DW,
    "conv": CONV,
}


RUNTIME = (
    "jax_waves",
    "grid_lines",
    "jax_lines",
    "jax_directions",
    "jax_chunk_gram",
    "grid_algebra",
    "jax_grid_algebra",
    "grid_tree",
    "jax_tiles",
    "jax_grid",
    "grid_layers",
    "jax_chunk",
    "jax_scan",
    "jax_elements",
    "jax_loop",
    "jax_newton",
    "graph_levels",
    "graph_rounds",
    "jax_levels",
    "jax_rounds",
)
"""Files of functions that modules take over as they are."""


def _functions() -> dict[str, str]:
    """What modules may define, in an order in which it can be executed."""
    return {**FUNCTIONS, **{name: text for file in RUNTIME for name, text in runtime(file).items()}}


def shortcuts(types: Types) -> dict[str, str]:
    """Functions of jax with the module's types filled in."""
    single = types.real == "jnp.float32"
    einsum = f"einsum = {EXACT_EINSUM if single else 'jnp.einsum'}"
    wide = {"floats": f"floats = partial(jnp.asarray, dtype={types.real})", "einsum": einsum}
    narrow = {
        "floats": f'''
def floats(array):
    """Data have 16 bits; what is computed from them has 32."""
    return jnp.asarray(array, {types.data}).astype({types.real})
''',
        "product": f'''
def product(spec, *factors):
    """An einsum with parameters: factors of 16 bits, summed up in 32.  XLA for the CPU has not all of these."""
    return jax.lax.platform_dependent(
        *(factor.astype({types.data}) for factor in factors),
        cpu=lambda *narrow: einsum(spec, *(factor.astype({types.real}) for factor in narrow)),
        default=partial(jnp.einsum, spec, preferred_element_type={types.real}),
    )
''',
        "einsum": einsum,
    }
    return {
        "ints": f"ints = partial(jnp.asarray, dtype={types.whole})",
        "bools": "bools = partial(jnp.asarray, dtype=bool)",
        "complexes": f"complexes = partial(jnp.asarray, dtype={types.complex})",
        "uniform": f"uniform = partial(jax.random.uniform, dtype={types.data})",
        "normal": f"normal = partial(jax.random.normal, dtype={types.data})",
        **(narrow if types.narrow else wide),
    }


def reserved(types: Types) -> tuple[str, ...]:
    """Every identifier that a module may use for itself."""
    parameters = ("params", "inputs", "outputs", "state", "seed", "batch", "length", "extents", "key", "keys", "at")
    of_loops = ("reads", "statics", "starts", "saved", "d_kept", "d_lasts")
    functions = ("init", "initial_state", "apply", "apply_statistics", "step", *_functions(), *shortcuts(types))
    builtins = ("float", "int", "bool", "max", "min", "abs", "complex", "range", "dict", "set", "sorted", "partial")
    return (*parameters, *of_loops, *functions, *builtins, *(name for name, _ in IMPORTS))


def imports(text: str) -> str:
    """The import lines that the text needs, the standard library's first."""
    used = identifiers(text)
    return "\n".join(line for name, line in IMPORTS if name in used).strip()


def definitions(text: str, types: Types) -> tuple[list[str], list[str]]:
    """One-line definitions and whole functions that the text uses, and those that these use in turn."""
    chosen = reached(text, {**shortcuts(types), **_functions()})
    return [c for c in chosen if "\n" not in c], [c for c in chosen if "\n" in c]
