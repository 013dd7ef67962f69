"""Whether kernels run, and on what numbers."""

import functools
import os
import warnings

import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # kernels then run on the CPU, slowly

DOT_TYPE = tl.float32 if INTERPRETED else tl.bfloat16  # the interpreter has no products of bfloat16


@functools.cache
def announce_fallback():
    warnings.warn(f"{__name__}: no GPU, so each loop runs in its plain PyTorch form, not as a kernel", stacklevel=2)


def runs_kernels(tensor):
    """Whether kernels run where the tensor is: on a GPU, or anywhere when they are interpreted."""
    if tensor.device.type == "cpu" and not INTERPRETED:
        announce_fallback()
        return False
    return True


@functools.cache
def announce_apart():
    warnings.warn(f"{__name__}: too few multiprocessors for programs that wait for each other", stacklevel=2)


def tiles_at_once(tensor, programs, threads, shared):
    """How many tiles of sequences run at once where each takes `programs` programs that wait for each other.

    None where one such tile is too much: a program that is not yet on the GPU would be waited for in vain.  For the
    same reason there are none when kernels are interpreted, one program after the other.
    """
    if INTERPRETED:
        return 0
    gpu = triton.runtime.driver.active.utils.get_device_properties(tensor.device.index)
    by_registers = gpu["max_num_regs"] // (256 * threads)  # as if each thread had as many as it can
    by_memory = (gpu["max_shared_mem"] + 1024) // (shared + 1024)  # the system takes 1024 bytes for each program
    found = gpu["multiprocessor_count"] * min(by_registers, by_memory) // programs
    if not found:
        announce_apart()
    return found
