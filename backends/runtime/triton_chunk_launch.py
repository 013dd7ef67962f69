"""Launches of the chunk kernels on the tensors of `chunked`."""

import torch
import triton
import triton.language as tl

from lsrl.backends.runtime.torch_kernels import INTERPRETED
from lsrl.backends.runtime.triton_chunk import (
    chunk_carry_kernel,
    chunk_product_kernel,
    chunk_read_kernel,
    chunk_solve_kernel,
)
from lsrl.backends.runtime.triton_chunk_inverse import chunk_inverse_kernel


def chunk_block(size, most):
    """A power of two that covers `size`, at least 16 as matrix units want, at most `most`."""
    return min(most, max(16, triton.next_power_of_2(size)))


def dot_type(operands):
    """What matrix units are given: the interpreter has no products of bfloat16."""
    if operands == torch.float16:
        return tl.float16
    return tl.bfloat16 if operands == torch.bfloat16 and not INTERPRETED else tl.float32


def launch_carry(whole, low, added, start, reverse, operands):
    """The states that arrive at chunks [L, N, K, V] and the last one, in float32; `own` becomes u.

    Args:
        whole: [L, N, K or 1, V or 1].
        low: reading, writing [L, N, M, K], either None for none, and own [L, N, M, V] in one piece.
        added: [L, N, K, V] or None.
        start: [L, K, V].
    """
    reading, writing, own = low
    lanes, width, columns = start.shape
    chunks, rows = whole.shape[1], own.shape[2]
    states = start.new_empty(lanes, chunks, width, columns, dtype=torch.float32)
    last = start.new_empty(start.shape, dtype=torch.float32)
    block_k = chunk_block(width, 256)
    block_v = chunk_block(columns, max(16, 2048 // block_k))  # 16 numbers of the state in each thread's registers
    most_rows = (32 if operands == torch.float32 else 128) // max(1, block_k // 64)
    strides = [0 if size == 1 else stride for size, stride in zip(whole.shape[2:], whole.stride()[2:])]
    either = [states if each is None else each.contiguous() for each in (reading, writing)]
    chunk_carry_kernel[(lanes, triton.cdiv(columns, block_v))](
        whole, *either, own, states if added is None else added.contiguous(), start.contiguous(), states, last,
        chunks, width, columns, rows, *whole.stride()[:2], *strides,
        READS=reading is not None, WRITES=writing is not None, ADDS=added is not None, REVERSE=reverse,
        BLOCK_M=chunk_block(rows, min(64, max(16, most_rows))), BLOCK_K=block_k, BLOCK_V=block_v,
        DOT=dot_type(operands), num_warps=4,
    )  # fmt: skip
    return states, last


class ChunkLaunch:
    """The sequences of a recurrence in chunks, and how its kernels run over them.

    Attributes:
        decay: [B, T, H, K or 1] or None.
        readers, keys, values: [B, T, H, streams, X]; readers may be None.
        mix: [B, T, H, J, R] or None.
    """

    def __init__(self, given, tile, reverse, operands):
        self.decay, self.readers, self.keys, self.values, self.mix = given
        self.batch, self.length, self.heads, self.written, self.width = self.keys.shape
        self.columns = self.values.shape[-1]
        self.lanes, self.chunks = self.batch * self.heads, triton.cdiv(self.length, tile)
        self.tile, self.reverse, self.operands = tile, reverse, operands
        kind = 0 if self.decay is None else 1 if self.decay.shape[-1] == 1 else 2
        self.constants = {"C": tile, "DECAY": kind, "REVERSE": reverse, "DOT": dot_type(operands)}

    def decays(self):
        """The decays and the strides of their batch, position and lane."""
        return (self.keys, (0, 0, 0)) if self.decay is None else (self.decay, self.decay.stride()[:3])

    def empty(self, *shape, dtype=None):
        return self.keys.new_empty(self.lanes, self.chunks, *shape, dtype=dtype or self.operands)

    def products(self, x, exclusive, dtype):
        """Products of the rows of x [B, T, H, X, K] with the keys: [lanes, chunks, X, J, C, C]."""
        streams = x.shape[3]
        out = self.empty(streams, self.written, self.tile, self.tile, dtype=dtype)
        decay, strides = self.decays()
        grid = (self.chunks * self.lanes, streams * self.written)
        chunk_product_kernel[grid](
            x, self.keys, decay, out, self.length, self.heads, streams, self.written, self.width,
            *x.stride()[:4], *self.keys.stride()[:4], *strides,
            BLOCK=chunk_block(self.width, 16 if self.constants["DECAY"] == 2 else 64), EXCLUSIVE=exclusive,
            **self.constants, num_warps=4,
        )  # fmt: skip
        return out

    def solved(self):
        """Own values, reads, keys with their decay to the end [lanes, chunks, J, C, X], and all of the decay."""
        none = self.readers is None
        readers, mix = (self.keys, self.keys) if none else (self.readers, self.mix)
        shape = self.written, self.tile
        own, writing = self.empty(*shape, self.columns), self.empty(*shape, self.width)
        reading = writing if none else self.empty(*shape, self.width)
        whole = self.empty(self.width, dtype=torch.float32)
        products = own if none else self.products(readers, True, torch.float32)
        inverses = own if none else self.inverses(products)
        decay, strides = self.decays()
        chunk_solve_kernel[(self.chunks * self.lanes,)](
            products, inverses, readers, self.keys, self.values, mix, decay, own, reading, writing, whole,
            self.length, self.heads, self.width, self.columns,
            *readers.stride()[:4], *self.keys.stride()[:4], *self.values.stride()[:4], *mix.stride()[:5], *strides,
            R=0 if none else readers.shape[3], J=self.written, BLOCK=32, **self.constants, num_warps=4,
        )  # fmt: skip
        return own, None if none else reading, writing, whole

    def inverses(self, products):
        """The inverse of each chunk's system, [lanes, chunks, C, C]."""
        out = self.empty(self.tile, self.tile, dtype=torch.float32).zero_()
        names = ("C", "REVERSE")
        chunk_inverse_kernel[(self.chunks * self.lanes,)](
            products, self.mix, out, self.length, self.heads, *self.mix.stride()[:5],
            R=self.readers.shape[3], J=self.written, **{name: self.constants[name] for name in names}, num_warps=4,
        )  # fmt: skip
        return out

    def run(self, vectors, start):
        """The reads of (q, exclusive), each [B, T, H, V], and the last state [lanes, K, V]."""
        own, reading, writing, whole = self.solved()
        low = (None if reading is None else reading.flatten(2, 3), writing.flatten(2, 3), own.flatten(2, 3))
        states, last = launch_carry(whole[..., None], low, None, start, False, self.operands)
        return [self.read(q, exclusive, own, states) for q, exclusive in vectors], last

    def read(self, query, exclusive, given, states):
        """q^T S, [B, T, H, V]."""
        products = self.products(query[:, :, :, None], exclusive, self.operands)
        out = query.new_empty(self.batch, self.length, self.heads, self.columns)
        block_v = chunk_block(self.columns, 64)
        decay, strides = self.decays()
        chunk_read_kernel[(self.chunks * self.lanes, triton.cdiv(self.columns, block_v))](
            query, products, given, states, decay, out, self.length, self.heads, self.width, self.columns,
            *query.stride()[:3], *strides, *out.stride()[:3],
            J=self.written, BLOCK_K=32, BLOCK_V=block_v, EXCLUSIVE=exclusive, **self.constants, num_warps=4,
        )  # fmt: skip
        return out
