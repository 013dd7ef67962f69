"""Matrix states in layers over a grid: every layer is a state of the framework's `tiled`.

Layers are axes before those of matrices and vectors: states [..., J, K, V], keys [..., JK, K], values [..., JV, V].
"""


def tiled_layers(tiled, stack, starts, transition, gates, keys, values, reads, *, axes, **options):
    """`tiled` of states in layers.

    Args:
        tiled: of `jax_grid` or `torch_grid`.
        stack: the framework's function that stacks arrays along a new axis.
        starts: for each state what arrives at the grid, [B, *extents of the other axes, *lanes, J, K, V].
        transition: T, a list of lists [to][from] of [B, places, *lanes, J, J], or None.
        gates: g, a list of lists [state][outer product] of [B, places, *lanes, J, JK, JV], or None.
        reads: a list of (q, w): [B, places, *lanes, JQ, K], and for each state [B, places, *lanes, JO, JQ, J] or None.
        axes: the axis that each state travels along.
        options: those of `tiled`.

    Returns:
        A list of [B, places, *lanes, JO, V], and the last states.
    """
    layers = range(starts[0].shape[-3])
    pairs = [(key, value, j, m) for key, value in zip(keys, values) for j in rows_in(key) for m in rows_in(value)]
    found, lasts = tiled(
        tuple(start[..., layer, :, :] for start in starts for layer in layers),
        [[part_of(each, to, of) for each in row for of in layers] for row in transition for to in layers],
        [[part_of(g, to, j, m) for g, j, m in of_pairs(row, keys, values)] for row in gates for to in layers],
        [key[..., j, :] for key, _, j, _ in pairs],
        [value[..., m, :] for _, value, _, m in pairs],
        [read for query, row in reads for read in layer_reads(query, row, layers)],
        axes=tuple(axis for axis in axes for _ in layers),
        **options,
    )
    return read_layers(stack, found, reads), stacked_layers(stack, lasts, len(layers))


def rows_in(vectors):
    """The numbers of the layers of vectors [..., J, K]."""
    return range(vectors.shape[-2])


def part_of(numbers, *place):
    """One layer of numbers, or nothing of nothing."""
    return None if numbers is None else numbers[(..., *place)]


def of_pairs(row, keys, values):
    """The numbers of each outer product, for all layers of its key and its value."""
    return [(g, j, m) for g, key, value in zip(row, keys, values) for j in rows_in(key) for m in rows_in(value)]


def layer_reads(query, row, layers):
    """The reads that a read of layers consists of: for each layer of the result one for each layer of the query."""
    outs = range(next(each.shape[-3] for each in row if each is not None))
    return [
        (query[..., j, :], [part_of(each, out, j, layer) for each in row for layer in layers])
        for out in outs
        for j in rows_in(query)
    ]


def read_layers(stack, found, reads):
    """What was read, summed over the layers of queries: a list of [..., JO, V]."""
    results, rest = [], list(found)
    for query, row in reads:
        outs = next(each.shape[-3] for each in row if each is not None)
        parts = [[rest.pop(0) for _ in rows_in(query)] for _ in range(outs)]
        results.append(stack([sum(part) for part in parts], -2))
    return results


def stacked_layers(stack, lasts, count):
    """States of layers put together, [..., J, K, V]."""
    return tuple(stack(lasts[first : first + count], -3) for first in range(0, len(lasts), count))
