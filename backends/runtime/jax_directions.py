"""A loop over a grid in any direction, or in several at once, in JAX: it runs forward on what is turned round."""

import jax
import jax.numpy as jnp

from lsrl.backends.runtime.jax_waves import on_grid


def in_directions(loop, turns, reads, statics, starts, extents, axes):
    """A loop in each of several directions, all at once: for each what is kept of every place, and the last states.

    Args:
        loop: from reads, statics, starts and extents to what is kept and the last states; it runs forward.
        turns: for each direction the axes on which it is to run from the last place to the first.
        reads, statics, starts: for each direction what the loop takes, tuples of arrays; [B, places, ...] at every
            place, the same at all of them, and [B, *extents of the other axes, ...] where states enter.
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
    """
    reads = [turned_grids(each, turn, extents) for each, turn in zip(reads, turns)]
    starts = [turned_edges(each, turn, axes) for each, turn in zip(starts, turns)]
    found = at_once(loop, reads, statics, starts, extents)
    return tuple(
        (turned_grids(kept, turn, extents), turned_edges(lasts, turn, axes))
        for (kept, lasts), turn in zip(found, turns)
    )


def at_once(loop, reads, statics, starts, extents):
    """Several runs of a loop as one: side by side in the batch, where what is the same at all places is for all."""
    shared = [all(array is same[0] for array in same) for same in zip(*statics)]
    if not all(shared):
        return with_own_statics(loop, reads, statics, starts, extents, shared)
    count, joined = len(reads), [jax.tree.map(lambda *same: jnp.concatenate(same), *each) for each in (reads, starts)]
    kept, lasts = loop(joined[0], statics[0], joined[1], extents)
    return list(zip(apart(kept, count), apart(lasts, count)))


def with_own_statics(loop, reads, statics, starts, extents, shared):
    """Several runs of a loop as one, with arrays of their own where not all share what is the same at all places."""
    reads, starts = (jax.tree.map(lambda *same: jnp.stack(same), *each) for each in (reads, starts))
    given = tuple(same[0] if own else jnp.stack(same) for same, own in zip(zip(*statics), shared))
    along = (0, tuple(None if own else 0 for own in shared), 0)
    run = jax.vmap(lambda reads, statics, starts: loop(reads, statics, starts, extents), along)
    kept, lasts = run(reads, given, starts)
    return [(tuple(each[at] for each in kept), tuple(each[at] for each in lasts)) for at in range(len(statics))]


def apart(arrays, count):
    """Arrays of several runs side by side in the batch, run by run."""
    return list(zip(*(jnp.split(array, count) for array in arrays))) or [()] * count


def turned_grids(arrays, turn, extents):
    """Arrays [B, places, ...], on some axes of the grid from the last place to the first."""
    if not turn:
        return tuple(arrays)
    ways = [1 + axis for axis in turn]
    return tuple(jnp.flip(on_grid(array, extents), ways).reshape(array.shape) for array in arrays)


def turned_edges(borders, turn, axes):
    """What enters or leaves along the axis of each state, on some other axes from the last place to the first."""
    ways = [[1 + other - (other > axis) for other in turn if other != axis] for axis in axes]
    return tuple(jnp.flip(border, way) if way else border for border, way in zip(borders, ways))


def tiled_in_directions(tiled, turns, runs, *, extents, axes, **options):
    """`tiled` of several recurrences that are alike, each in a direction of its own, all at once: for each its result.

    Args:
        tiled: of `jax_grid`, or what takes layers apart for it.
        turns: for each recurrence the axes on which it is to run from the last place to the first.
        runs: for each what `tiled` takes, starts first, then lists of lists of [B, places, ...].
        extents: the number of places along each axis.
        axes: the axis that each state travels along.
    """
    starts = [turned_edges(first, turn, axes) for (first, *_), turn in zip(runs, turns)]
    leaves, trees = zip(*(jax.tree.flatten(rest) for _, *rest in runs))
    grids = [turned_grids(each, turn, extents) for each, turn in zip(leaves, turns)]
    whole, starts = ([jnp.concatenate(same) for same in zip(*each)] for each in (grids, starts))
    taken = jax.tree.unflatten(trees[0], whole)
    results = tiled(tuple(starts), *taken, extents=extents, axes=axes, **options)
    found, lasts = (apart(each, len(turns)) for each in results)
    return [
        (turned_grids(each, turn, extents), turned_edges(last, turn, axes))
        for each, last, turn in zip(found, lasts, turns)
    ]
