"""A chain of additions in one program of a GPU: how long one takes after the other."""

import triton
import triton.language as tl


@triton.jit
def chain(place, T):  # type: ignore[no-untyped-def]
    total = tl.load(place)
    for _ in range(T):
        total = total * 0.999 + 1.0
    tl.store(place, total)
