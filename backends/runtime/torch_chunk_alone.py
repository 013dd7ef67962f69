"""What `torch_chunk_kernels` decides, in modules without kernels: PyTorch computes all products."""

from lsrl.backends.runtime.torch_chunk_plain import chunk_plainly


def run_chunks(start, columns, given, vectors, sides, chunk, reverse, operands):
    """Reads and the last state of a recurrence in chunks; `chunk`: the positions of one, and the rows of its tile."""
    return chunk_plainly(start, columns, given, vectors, sides, chunk[0], reverse, False)
