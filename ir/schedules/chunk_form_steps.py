"""Steps of the normal form one after the other: again a step of the normal form.

With S1 = D1 S + sum_j w_j u_j^T and a second step's reader a', the second reads

    a'^T S1 = (D1 a')^T S + sum_j (a' . w_j) u_j

so what it adds to its keys is a combination of the readers of S and of the values of the first.  Its decay meets the
keys of the first.  Hence no product of matrices is ever multiplied out: ranks add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from lsrl.ir import build
from lsrl.ir.schedules.chunk_form_parts import ChunkStep
from lsrl.ir.schedules.chunk_form_values import dot, plus, scaled, times
from lsrl.ir.schedules.how import NotLegal
from lsrl.ir.value import Value

Row = tuple[Value | None, ...]


def composed(steps: Sequence[ChunkStep]) -> ChunkStep:
    """Steps in the order in which they act, as one.

    Raises:
        NotLegal: a decay along the columns meets a reader.
    """
    return reduce(_then, steps)


def joined(step: ChunkStep) -> ChunkStep:
    """Equal readers made one, then equal keys: a delta rule, which reads with its key, then has one of each."""
    return _joined_keys(_joined_readers(step))


def _then(first: ChunkStep, second: ChunkStep) -> ChunkStep:
    step = _reading(first, second)
    return joined(replace(step, decay_columns=times(first.decay_columns, second.decay_columns)))


def _nothing(step: ChunkStep) -> tuple[Value | None, ...]:
    """No coefficient for any of a step's readers."""
    return (None,) * len(step.readers)


def _reading(first: ChunkStep, second: ChunkStep) -> ChunkStep:
    """The second step behind the first one, their decays along columns apart."""
    if (first.decay_columns and second.readers) or (second.decay_columns and first.readers):
        decay = first.decay_columns or second.decay_columns
        raise NotLegal("its transition scales one axis of the state and mixes along the other one", decay)
    kept = _decayed(first, second)
    readers = (*first.readers, *(_carried(reader, first.decay_rows) for reader in second.readers))
    scalar = _scalar(first.decay_rows, second.readers)
    values, mix = [*kept.values], [(*row, *(None,) * len(second.readers)) for row in kept.mix]
    for value, row in zip(second.values, second.mix):
        whole, ahead = value, _nothing(first)
        for reader, coefficient in zip(second.readers, row):
            if coefficient is not None:
                whole, ahead = _behind(first, reader, coefficient, whole, ahead)
        values.append(whole)
        mix.append((*ahead, *(None if c is None else times(c, scalar) for c in row)))
    return ChunkStep(
        decay_rows=times(first.decay_rows, second.decay_rows),
        decay_columns=None,
        readers=readers,
        keys=(*kept.keys, *second.keys),
        values=tuple(values),
        mix=tuple(mix),
    )


def _behind(
    first: ChunkStep, reader: Value, coefficient: Value, whole: Value | None, ahead: Row
) -> tuple[Value | None, Row]:
    """What a reader behind the first step adds to a value and to its mix: the first one's values, as far as it sees."""
    for key, value, row in zip(first.keys, first.values, first.mix):
        seen = build.mul(coefficient, dot(reader, key))
        whole = plus(whole, None if value is None else scaled(value, seen))
        ahead = tuple(plus(a, None if c is None else build.mul(seen, c)) for a, c in zip(ahead, row))
    return whole, ahead


def _decayed(first: ChunkStep, second: ChunkStep) -> ChunkStep:
    """What the first step wrote, after the second one's decays.  A number goes to the values, so that keys stay."""
    values = tuple(None if v is None else times(v, second.decay_columns) for v in first.values)
    scalar = _scalar(second.decay_rows, first.keys)
    if scalar is None:
        keys = tuple(_carried(key, second.decay_rows) for key in first.keys)
        return replace(first, keys=keys, values=values)
    scaled_mix = tuple(tuple(None if c is None else build.mul(c, scalar) for c in row) for row in first.mix)
    return replace(first, values=tuple(None if v is None else scaled(v, scalar) for v in values), mix=scaled_mix)


def _scalar(decay: Value | None, vectors: Sequence[Value]) -> Value | None:
    """The decay if it is a number in each lane, and there are vectors that it would scale."""
    return decay if decay is not None and vectors and decay.rank < vectors[0].rank else None


def _carried(vector: Value, decay: Value | None) -> Value:
    """A vector times a decay for each row; numbers are dealt with elsewhere."""
    return vector if decay is None or decay.rank < vector.rank else scaled(vector, decay)


def _joined_readers(step: ChunkStep) -> ChunkStep:
    readers = tuple(dict.fromkeys(step.readers))
    places = [[m for m, other in enumerate(step.readers) if other is reader] for reader in readers]
    mix = tuple(tuple(_sum([row[m] for m in same]) for same in places) for row in step.mix)
    used = [m for m in range(len(readers)) if any(row[m] is not None for row in mix)]
    return replace(step, readers=tuple(readers[m] for m in used), mix=tuple(tuple(row[m] for m in used) for row in mix))


def _joined_keys(step: ChunkStep) -> ChunkStep:
    keys = tuple(dict.fromkeys(step.keys))
    places = [[j for j, other in enumerate(step.keys) if other is key] for key in keys]
    values = tuple(_sum([step.values[j] for j in same]) for same in places)
    mix = tuple(tuple(_sum([step.mix[j][m] for j in same]) for m in range(len(step.readers))) for same in places)
    return replace(step, keys=keys, values=values, mix=mix)


def _sum(parts: Sequence[Value | None]) -> Value | None:
    total: Value | None = None
    for part in parts:
        total = plus(total, part)
    return total
