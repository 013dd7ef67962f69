"""Programs with trained parameters, at other sizes.

`expand_state` gives a layer a larger state after training (Shen et al., 2025, "StateX: Enhancing RNN Recall via
Post-training State Expansion", arXiv:2509.22630).  What is enlarged are sizes, so that the program stays as it is, and
parameters are copied into the larger shapes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from lsrl.backends.arrays import Array, Arrays
from lsrl.backends.initialise import init_params
from lsrl.ir.fault import Refusal
from lsrl.program import Program

Numbers = Mapping[str, int]
Lengths = tuple[int, ...]
Parts = Sequence[Sequence[str]]


class TransformError(Refusal):
    """A parameter that cannot be brought to other sizes."""


def expand_state(
    program: Program,
    params: Arrays,
    sizes: Numbers,
    larger: Numbers,
    parts: Mapping[str, Parts] | None = None,
    fresh: Collection[str] = (),
    seed: int = 0,
) -> dict[str, Array]:
    """Parameters of a program at larger sizes, made of those at smaller ones.

    A parameter whose shape stays is kept.  An axis that becomes r times as long is repeated r times.  Where an axis of
    heads becomes shorter and the axis after it longer by the same factor, heads are laid side by side.

    Args:
        program: what the parameters belong to, before and after.
        params: by name, at the sizes `sizes`.
        sizes: numbers of all sizes without a default, before.
        larger: those that change.  `{"N": 1, "K": N * K, "V": N * V}` makes one head of N.
        parts: by the name of a parameter, what its first axis consists of, in order; each part is a product of sizes,
            as the program reshapes it.
        fresh: names of parameters to draw anew, as the program says.
        seed: of what is drawn.

    Raises:
        TransformError: a shape changes in another way, and `fresh` does not have its name.
    """
    _, before = program.bind(sizes)
    cell, after = program.bind({**sizes, **larger})
    shapes = {param.name: param.shape for param in cell.params}
    layouts = parts or {}
    _check_names(program.name, shapes, params, layouts, fresh)
    expanded = init_params(cell, after, seed) if fresh else {}
    for name in [name for name in shapes if name not in fresh]:
        old, new = (tuple(dim.evaluate(numbers) for dim in shapes[name]) for numbers in (before, after))
        array = np.asarray(params[name])
        if array.shape != old:
            raise TransformError(f"the parameter {name} is {list(array.shape)}, not {list(old)}")
        if name in layouts:
            small, large = ([_numbers(part, numbers) for part in layouts[name]] for numbers in (before, after))
            expanded[name] = _by_parts(name, array, small, large, new)
        else:
            expanded[name] = _larger(name, array, new)
    return {name: expanded[name] for name in shapes}


def _check_names(
    program: str, known: Collection[str], given: Arrays, parts: Collection[str], fresh: Collection[str]
) -> None:
    unknown = {*fresh, *parts} - set(known)
    if unknown:
        raise TransformError(f"{program} has no parameter {', '.join(sorted(unknown))}")
    missing = set(known) - {*given, *fresh}
    if missing:
        raise TransformError(f"the parameter {', '.join(sorted(missing))} is missing")


def _numbers(part: Sequence[str], sizes: Numbers) -> Lengths:
    unknown = [name for name in part if name not in sizes]
    if unknown:
        raise TransformError(f"there is no size {', '.join(unknown)}")
    return tuple(sizes[name] for name in part)


def _by_parts(name: str, array: Array, small: Sequence[Lengths], large: Sequence[Lengths], new: Lengths) -> Array:
    """An array whose first axis has several parts, each an array of its own."""
    lengths = [prod(part) for part in small]
    if sum(lengths) != len(array) or sum(map(prod, large)) != new[0]:
        raise TransformError(f"the parts of {name} add up to {sum(lengths)}, and it has {len(array)}")
    pieces = np.split(array, np.cumsum(lengths)[:-1])
    grown = [
        _larger(name, piece.reshape(*old, *array.shape[1:]), (*wanted, *new[1:])).reshape(-1, *new[1:])
        for piece, old, wanted in zip(pieces, small, large)
    ]
    return np.concatenate(grown)


def _larger(name: str, array: Array, new: Lengths) -> Array:
    """An array with heads merged, and then every axis repeated to its new length."""
    merged = array.reshape(_merged(array.shape, new))
    if any(length % own for own, length in zip(merged.shape, new)):
        raise TransformError(
            f"the parameter {name} is {list(array.shape)} and would be {list(new)}; name it in `fresh` to draw it anew"
        )
    return np.tile(merged, [length // own for own, length in zip(merged.shape, new)])


def _merged(old: Lengths, new: Lengths) -> Lengths:
    """The lengths of axes when what leading axes lose goes to the axes after them."""
    lengths = list(old)
    for axis, following in pairwise(range(len(old))):
        lost, left = divmod(lengths[axis], new[axis])
        if lost > 1 and not left and new[following] % (lengths[following] * lost) == 0:
            lengths[axis], lengths[following] = new[axis], lengths[following] * lost
    return tuple(lengths)
