"""gated_delta: Gated delta rule (Yang et al., 2025, "Gated Delta Networks", equation 10).

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; a, b [B, T, N]
    state    S [B, N, K, V]
    outputs  o [B, T, N, V]

Schedule of S: one C loop over time for each sequence.
Backward pass of S: one C loop over time for each sequence, from S kept at the start of about as many pieces
    as a piece has positions.

Made from std/gated_delta by
    lsrl compile std/gated_delta --target cpu
It needs nothing but torch and, to be fast, a C compiler.
"""

import atexit
import ctypes
import functools
import hashlib
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings

import torch

N, K, V = 4, 128, 128


@functools.cache
def compiler():
    """The command of the system's C compiler, None where there is none; the variable CC goes first."""
    wanted = [shlex.split(command) for command in (os.environ.get("CC", ""), "cc", "gcc", "clang")]
    commands = [(shutil.which(program), *options) for program, *options in filter(None, wanted)]
    return next((command for command in commands if command[0]), None)


@functools.cache
def announce_plain(reason):
    """Says once why loops do not run in C."""
    warnings.warn(f"{reason}: loops run in plain PyTorch, which is slower", stacklevel=2)


@functools.cache
def compiling():
    """The command that compiles C text from its standard input, but for what it says of threads and of the result.

    Comparisons do not trap and functions set no errno, so that loops vectorise; nothing else about numbers is relaxed.
    What is not there is an error of compiling, not of loading.
    """
    system = os.uname()
    machine = "-mcpu=native" if system.machine in ("aarch64", "arm64") else "-march=native"
    numbers = ("-O3", machine, "-fno-math-errno", "-fno-trapping-math")
    whole = ("-Werror=implicit-function-declaration", *(("-Wl,-z,defs",) if system.sysname == "Linux" else ()))
    return [*compiler(), *numbers, *whole, "-fPIC", "-shared", "-x", "c"]


@functools.cache
def compiler_and_machine():
    """What the compiler would run: its words name its version, and what it knows of this machine's processor."""
    asked = subprocess.run([*compiling(), "-###", "-E", os.devnull], capture_output=True, text=True, cwd=os.sep)
    return asked.stdout + asked.stderr


def straight():
    """Keeps GCC from making paths of choices that hang together: a vector would take each of them in turn."""
    return ["-fno-thread-jumps"] if "gcc version" in compiler_and_machine() else []


@functools.cache
def library(code):
    """The library that C text compiles to: compiled once, and kept for later processes.

    It is kept under a name that tells the text, the compiler and the machine apart.
    """
    if compiler() is None:
        raise RuntimeError("there is no C compiler: none of $CC, cc, gcc and clang can be run")
    name = hashlib.sha256(f"{code}\0{compiling()}\0{straight()}\0{compiler_and_machine()}".encode()).hexdigest()
    path = os.path.join(kept_in(), f"{name[:32]}.so")
    if not os.path.exists(path):
        compile_to(path, code)
    return ctypes.CDLL(path)


def compile_to(path, code):
    """Compiles C text to a shared library, which appears under its name when it is whole.

    Where the compiler has no OpenMP, as on macOS, it is compiled for one thread.
    """
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        built = os.path.join(folder, "built.so")
        for threads in ("-fopenmp", "-fopenmp-simd"):
            command = [*compiling(), *straight(), threads, "-", "-o", built, "-lm"]
            run = subprocess.run(command, input=code, capture_output=True, text=True)
            if run.returncode == 0:
                os.replace(built, path)
                return
    raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr}")


@functools.cache
def kept_in():
    """The folder of compiled libraries: one for this process alone where ours cannot be written, or others can."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.abspath(os.path.join(os.environ.get("LSRL_CACHE") or os.path.join(cache, "lsrl"), "native"))
    if not is_ours(folder):
        folder = tempfile.mkdtemp(prefix="lsrl-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_ours(folder):
    """Whether a folder, which is made where there is none, can be written by this user and by nobody else."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.stat(folder)
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022 and os.access(folder, os.W_OK | os.X_OK)


def runs_native(tensor):
    """Whether C functions run where the tensor is: on a CPU with a compiler."""
    if tensor.device.type == "cpu" and compiler() is not None:
        return True
    announce_plain("no C compiler was found (set CC)" if tensor.device.type == "cpu" else f"on {tensor.device.type}")
    return False


def run_native(function, tensors, numbers):
    """Calls a C function: pointers first, then whole numbers as `long` and others as `double`, threads last."""
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    following = (ctypes.c_double(x) if isinstance(x, float) else ctypes.c_long(x) for x in numbers)
    function.restype = None
    function(*pointers, *following)


def taken(tensors, name, shape, dtype):
    """A tensor by name; its shape is checked, since kernels read as much as they are made for."""
    tensor = tensors[name]
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, and should have {shape}")
    return tensor.to(dtype)


def starting(params, state, batch, device):
    """The initial states, with those that are given in place of the program's."""
    states, given = initial_state(params, batch, device), state or {}
    if unknown := sorted(set(given) - set(states)):
        raise ValueError(f"there is no state {', '.join(unknown)}; the states are {', '.join(states)}")
    own = {name: taken(given, name, tuple(states[name].shape), states[name].dtype) for name in given}
    return states | {name: tensor.to(device) for name, tensor in own.items()}


def positions(*reads, reverse=False):
    """What is read at each position, in the order of computation."""
    steps = list(zip(*(read.unbind(1) for read in reads)))
    return steps[::-1] if reverse else steps


def over_time(steps, shape, dtype, like, reverse=False):
    """What a loop kept, [B, T, *shape], from the list in the order of computation."""
    if not steps:
        return like.new_empty((like.shape[0], 0, *shape), dtype=dtype)
    return torch.stack(steps[::-1] if reverse else steps, 1)


def register(module, name, param):
    """A parameter under its dotted name: `layers.0.Wz` becomes the parameter Wz of module.layers.0."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_parameter(last, torch.nn.Parameter(param, requires_grad=is_smooth(param)))


def own_namespace(wanted):
    """The namespace that is wanted, or one like it where another module of the same text has its operators there.

    Registering an operator anew would leave that other module's without what it runs.
    """
    found, number = wanted, 1
    while hasattr(getattr(torch.ops, found), "module"):
        found, number = f"{wanted}_{number}", number + 1
    torch.library.define(f"{found}::module", "() -> ()")
    return found


# Operators stay when the module goes, so the name is made from its text.
OPERATORS = own_namespace("lsrl_99406c300b51")


class Operator:
    """A function as an operator of this module, which compilers of graphs do not look into.

    It is what `torch.library.custom_op` makes, which loads PyTorch's compiler, a second's work, at the first call.
    """

    def __init__(self, function):
        self.name = f"{OPERATORS}::{function.__name__}"
        torch.library.define(self.name, torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(self.name, "default", untraced(function))
        self.call = getattr(getattr(torch.ops, OPERATORS), function.__name__).default
        functools.update_wrapper(self, function)

    def __call__(self, *given):
        return self.call(*given)

    def register_fake(self, function):
        """What it gives without being run: empty tensors."""
        torch.library.register_fake(self.name, function)

    def register_vmap(self, function):
        """How it runs on tensors of which an axis is mapped over."""
        torch.library.register_vmap(self.name, function)


def untraced(function):
    """The function as PyTorch's compiler leaves it alone, where that is loaded."""

    @functools.wraps(function)
    def run(*given):
        dynamo = sys.modules.get("torch._dynamo")
        return (dynamo.disable(function) if dynamo else function)(*given)

    return run


def saves(length, every):
    """Of how many positions the arriving states are kept: the first of every `every`; of none for 0."""
    return -(-length // every) if every else 0


def wants_gradients(*tensors):
    """Whether something is to be kept for a backward pass."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def piece_size(length):
    """A power of two near the square root of the length, at least 16; a fixed one where any length is compiled for."""
    if torch.compiler.is_compiling():
        return 64
    return max(16, 2 ** round(math.log2(max(length, 1)) / 2))


def folded(operator, sequences):
    """The rule of `torch.vmap` for an operator on a list of tensors: what is mapped over joins the batch.

    `sequences` says which tensors have a batch in front.  Where others are mapped over, one after the other runs.
    """

    def rule(info, in_dims, tensors, *options):
        dims, size = in_dims[0], info.batch_size
        given = [x if dim is None else x.movedim(dim, 0) for x, dim in zip(tensors, dims)]
        if any(dim is not None and not own for dim, own in zip(dims, sequences)):
            each = [[x if dim is None else x[i] for x, dim in zip(given, dims)] for i in range(size)]
            found = [torch.stack(same) for same in zip(*(operator(one, *options) for one in each))]
        else:
            mapped = [dim is not None or not own for dim, own in zip(dims, sequences)]
            wide = [x if whole else x.expand(size, *x.shape) for x, whole in zip(given, mapped)]
            flat = [x.flatten(0, 1) if own else x for x, own in zip(wide, sequences)]
            found = [y.reshape(size, y.shape[0] // size, *y.shape[1:]) for y in operator(flat, *options)]
        return found, [0] * len(found)

    return rule


def separate(found, given):
    """Results of an operator, which may share memory neither with what it was given nor with each other."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in given}
    results = []
    for tensor in found:
        place = tensor.untyped_storage().data_ptr()
        results.append(tensor.clone() if place in taken else tensor)
        taken.add(place)
    return results


def filled(cotangent, like, shape, dtype):
    """A cotangent, zeros where there is none."""
    return like.new_zeros(shape, dtype=dtype) if cotangent is None else cotangent


def is_smooth(tensor):
    """Whether a tensor can have gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def pulled_back(function, tensors, cotangents):
    """The cotangent of each tensor through a function, None for ints and bools, from those of its first smooth results.

    It can be differentiated once more.
    """
    smooth = [is_smooth(tensor) for tensor in tensors]

    def of_smooth(*moving):
        given = iter(moving)
        found = function(*(next(given) if own else tensor for tensor, own in zip(tensors, smooth)))
        return [result for result in found if result is not None and is_smooth(result)][: len(cotangents)]

    pull = torch.func.vjp(of_smooth, *(tensor for tensor, own in zip(tensors, smooth) if own))[1]
    found = iter(pull(list(cotangents)))
    return [next(found) if own else None for own in smooth]


def in_pieces(run, adjoint, given, counts, length, every, reverse):
    """The derivative of a loop that kept the states at the start of every `every` positions.

    It goes over these pieces from the last to the first and runs each anew.

    Args:
        run: (reads, statics, starts, length) to the arriving states of every position.
        adjoint: (reads, statics, arriving, cotangents of what is kept, of the last states) to three lists, the
            cotangents of reads, statics and starts.
        given: what is read, what stays the same, the states kept, the cotangents of what the loop keeps and of its
            last states, one after the other, as many of each as `counts` says.
    """
    groups = iter(given)
    reads, statics, firsts, seeds, lasts = ([next(groups) for _ in range(count)] for count in counts)
    starts = range(0, max(length, 1), every)
    d_reads, d_statics = [], []
    for place, start in reversed(list(enumerate(starts))):
        stop = min(start + every, length)
        here = slice(length - stop, length - start) if reverse else slice(start, stop)
        at = len(starts) - 1 - place if reverse else place
        part = [read[:, here] for read in reads]
        arriving = run(part, statics, [first[:, at] for first in firsts], stop - start) if length else firsts
        found, more, lasts = adjoint(part, statics, arriving, [seed[:, here] for seed in seeds], lasts)
        d_reads.append(found)
        d_statics.append(more)
    ordered = d_reads if reverse else d_reads[::-1]
    totals = (torch.stack(parts).sum(0) for parts in zip(*d_statics))
    return [*(torch.cat(parts, 1) for parts in zip(*ordered)), *totals, *lasts]


C_FUNCTIONS = r"""
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef float real;

// Room for an array, at the start of a cache line.
static void *new_array(long bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

// Large pages for an array that is written first: a fault for every 2 MiB, not for every 4 KiB.
#ifdef __linux__
#include <sys/mman.h>
static void write_in_large_pages(void *array, long bytes) {
    const uintptr_t page = 1 << 21, first = ((uintptr_t)array + page - 1) & -page;
    const uintptr_t end = ((uintptr_t)array + bytes) & -page;
    if (first < end) madvise((void *)first, end - first, MADV_HUGEPAGE);
}
#else
static void write_in_large_pages(void *array, long bytes) {}
#endif
"""


S_kernel_code = r"""
void S_kernel(
    const real *q,  // [B, T, N, K]
    const real *k,  // [B, T, N, K]
    const real *v,  // [B, T, N, V]
    const real *a,  // [B, T, N]
    const real *b,  // [B, T, N]
    const real *S_0,  // [B, N, K, V], at the start
    real *o,  // [B, T, N, V], written
    real *S_T,  // [B, N, K, V], at the end, written
    real *S_saved,  // [B, P, N, K, V], now and then, written
    long B, long T, long EVERY, long N, long K, long V, long threads
) {
    const long saves = EVERY ? (T + EVERY - 1) / EVERY : 0;
    write_in_large_pages(o, B * T * (N * V) * (long)sizeof(real));
    write_in_large_pages(S_saved, B * saves * (K * N * V) * (long)sizeof(real));
    if (B * T * (K * N * V) < 32768) threads = 1;  // more would wait for it
    const long near = 32768 / ((K * V) * (long)sizeof(real));
    const long share = B && threads > B ? threads / B : 1;
    const long even = (N + share - 1) / share;
    const long some = near < 1 ? 1 : near < even ? near : even;
    const long width = some;
    const long parts = (N + width - 1) / width;
    #pragma omp parallel for num_threads(threads) schedule(static) collapse(2)
    for (long first_b = 0; first_b < B; first_b++) {
        for (long part = 0; part < parts; part++) {
            const long from = part * width;
            const long to = from + width < N ? from + width : N;
            real *S_now_row = new_array((K * N * V) * sizeof(real));
            real *k_S_all_row = new_array((N * V) * sizeof(real));
            real *o_all_row = new_array((N * V) * sizeof(real));
            {
                const real *const S_0_row = S_0 + first_b * (K * N * V);
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            S_now_row[i_n * (K * V) + i_k * V + i_v] = S_0_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
            }
            for (long step = 0; step < T; step++) {
                const long i_t = step;
                if (EVERY && step % EVERY == 0) {
                    const long slot = step / EVERY;
                    {
                        real *const S_saved_row = S_saved + (first_b * saves + slot) * (K * N * V);
                        for (long i_n = from; i_n < to; i_n++) {
                            for (long i_k = 0; i_k < K; i_k++) {
                                #pragma omp simd
                                for (long i_v = 0; i_v < V; i_v++) {
                                    S_saved_row[i_n * (K * V) + i_k * V + i_v] = S_now_row[i_n * (K * V)
                                            + i_k * V + i_v];
                                }
                            }
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    // std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) k_S_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) k_S_all_row[i_n * V + i_v] += k_row[i_n * K
                                    + i_k] * S_now_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const v_row = v + (first_b * T + i_t) * (N * V);
                    const real *const a_row = a + (first_b * T + i_t) * N;
                    const real *const b_row = b + (first_b * T + i_t) * N;
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                const real S = S_now_row[i_n * (K * V) + i_k * V + i_v];
                                // std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
                                const real S_next_product = a_row[i_n] * (S - b_row[i_n] * (k_row[i_n * K
                                        + i_k] * k_S_all_row[i_n * V + i_v]));
                                const real S_next = S_next_product + b_row[i_n] * (k_row[i_n * K + i_k]
                                        * v_row[i_n * V + i_v]);
                                S_now_row[i_n * (K * V) + i_k * V + i_v] = S_next;
                            }
                        }
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    // std/gated_delta.lsrl:9  output o = q @ S'
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) o_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) o_all_row[i_n * V + i_v] += q_row[i_n * K
                                    + i_k] * S_now_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                {
                    real *const o_row = o + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            o_row[i_n * V + i_v] = o_all_row[i_n * V + i_v];
                        }
                    }
                }
            }
            {
                real *const S_T_row = S_T + first_b * (K * N * V);
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            S_T_row[i_n * (K * V) + i_k * V + i_v] = S_now_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
            }
            free(S_now_row);
            free(k_S_all_row);
            free(o_all_row);
        }
    }
}
"""


def S_launch(q, k, v, a, b, S, every=0):
    """Run `S_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = q.shape[:2]
    o = S.new_empty((batch, length, N, V), dtype=torch.float32)
    S_T = torch.empty_like(S, memory_format=torch.contiguous_format)
    S_saved = S.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32)
    kernel = library(C_FUNCTIONS + S_kernel_code).S_kernel
    run_native(
        kernel,
        [
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            a.contiguous(),
            b.contiguous(),
            S.contiguous(),
            o,
            S_T,
            S_saved,
        ],
        [batch, length, every, N, K, V, torch.get_num_threads()],
    )
    return o, S_T, S_saved


@Operator
def S_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_native(tensors[0]):
        return list(S_launch(*tensors, every))
    return separate(S_plain(*tensors, every), tensors)


@S_operator.register_fake
def _(tensors, length, every):
    S = tensors[-1]
    batch = S.shape[0]
    return [
        S.new_empty((batch, length, N, V), dtype=torch.float32),
        torch.empty_like(S, memory_format=torch.contiguous_format),
        S.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32),
    ]


S_operator.register_vmap(folded(S_operator, (True, True, True, True, True, True)))


def S_loop(q, k, v, a, b, S):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = piece_size(q.shape[1]) if wants_gradients(q, k, v, a, b, S) else 0
    return SLoop.apply(q.shape[1], every, q, k, v, a, b, S)[:2]


def S_plain(q, k, v, a, b, S, every=0):
    """S over time in plain PyTorch: o of every position, then the last states, then the arriving states of
    positions `every` apart.
    """
    all_o = []
    S_saved = []
    for at, (q, k, v, a, b) in enumerate(positions(q, k, v, a, b)):
        if every and at % every == 0:
            S_saved.append(S)
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        S_next_product = (
            b[..., None, None]
            * (k[..., None] * torch.einsum("bnk,bnkv->bnv", k, S)[..., None, :])
        )
        S_next = (
            a[..., None, None] * (S - S_next_product)
            + b[..., None, None] * (k[..., None] * v[..., None, :])
        )
        # std/gated_delta.lsrl:9  output o = q @ S'
        o = torch.einsum("bnk,bnkv->bnv", q, S_next)  # [B, N, V]
        all_o.append(o)
        S = S_next
    return over_time(all_o, (N, V), torch.float32, S), S, over_time(S_saved, (N, K, V), torch.float32, S)


d_S_kernel_code = r"""
void d_S_kernel(
    const real *q,  // [B, T, N, K]
    const real *k,  // [B, T, N, K]
    const real *v,  // [B, T, N, V]
    const real *a,  // [B, T, N]
    const real *b,  // [B, T, N]
    const real *S,  // [B, T, N, K, V]
    const real *d_o,  // [B, T, N, V]
    const real *d_S_0,  // [B, N, K, V], at the start
    real *d_q,  // [B, T, N, K], written
    real *d_k,  // [B, T, N, K], written
    real *d_v,  // [B, T, N, V], written
    real *d_a,  // [B, T, N], written
    real *d_b,  // [B, T, N], written
    real *d_S_T,  // [B, N, K, V], at the end, written
    long B, long T, long N, long K, long V, long threads
) {
    write_in_large_pages(d_q, B * T * (K * N) * (long)sizeof(real));
    write_in_large_pages(d_k, B * T * (K * N) * (long)sizeof(real));
    write_in_large_pages(d_v, B * T * (N * V) * (long)sizeof(real));
    write_in_large_pages(d_a, B * T * (N) * (long)sizeof(real));
    write_in_large_pages(d_b, B * T * (N) * (long)sizeof(real));
    if (B * T * (K * N * V) < 32768) threads = 1;  // more would wait for it
    const long near = 32768 / ((K * V) * (long)sizeof(real));
    const long share = B && threads > B ? threads / B : 1;
    const long even = (N + share - 1) / share;
    const long some = near < 1 ? 1 : near < even ? near : even;
    const long width = some;
    const long parts = (N + width - 1) / width;
    #pragma omp parallel for num_threads(threads) schedule(static) collapse(2)
    for (long first_b = 0; first_b < B; first_b++) {
        for (long part = 0; part < parts; part++) {
            const long from = part * width;
            const long to = from + width < N ? from + width : N;
            real *d_S_now_row = new_array((K * N * V) * sizeof(real));
            real *k_S_all_row = new_array((N * V) * sizeof(real));
            real *S_next_all_row = new_array((K * N * V) * sizeof(real));
            real *d_q_all_row = new_array((K * N) * sizeof(real));
            real *d_S_plus_q_d_o_all_row = new_array((K * N * V) * sizeof(real));
            real *d_S_plus_q_d_o_v_all_row = new_array((K * N) * sizeof(real));
            real *d_S_plus_q_d_o_k_S_all_row = new_array((K * N) * sizeof(real));
            real *k_d_S_plus_q_d_o_all_row = new_array((N * V) * sizeof(real));
            real *k_d_S_plus_q_d_o_S_all_row = new_array((K * N) * sizeof(real));
            real *d_a_product_all_row = new_array((K * N * V) * sizeof(real));
            real *d_a_all_row = new_array((N) * sizeof(real));
            real *a_wide_d_S_plus_q_d_o_all_row = new_array((K * N * V) * sizeof(real));
            real *d_b_sum_all_row = new_array((K * N * V) * sizeof(real));
            real *d_b_all_row = new_array((N) * sizeof(real));
            real *d_S_next_product_all_row = new_array((N * V) * sizeof(real));
            {
                const real *const d_S_0_row = d_S_0 + first_b * (K * N * V);
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            d_S_now_row[i_n * (K * V) + i_k * V + i_v] = d_S_0_row[i_n * (K * V) + i_k * V
                                    + i_v];
                        }
                    }
                }
            }
            for (long step = 0; step < T; step++) {
                const long i_t = T - 1 - step;
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const S_row = S + (first_b * T + i_t) * (K * N * V);
                    // std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) k_S_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) k_S_all_row[i_n * V + i_v] += k_row[i_n * K
                                    + i_k] * S_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    const real *const d_o_row = d_o + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                const real d_S_plus_q_d_o = d_S_now_row[i_n * (K * V) + i_k * V + i_v]
                                        + q_row[i_n * K + i_k] * d_o_row[i_n * V + i_v];
                                d_S_plus_q_d_o_all_row[i_n * (K * V) + i_k * V + i_v] = d_S_plus_q_d_o;
                            }
                        }
                    }
                }
                {
                    const real *const v_row = v + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            real sum = 0;
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_S_plus_q_d_o_all_row[i_n * (K * V)
                                    + i_k * V + i_v] * v_row[i_n * V + i_v];
                            d_S_plus_q_d_o_v_all_row[i_n * K + i_k] = sum;
                        }
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            real sum = 0;
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_S_plus_q_d_o_all_row[i_n * (K * V)
                                    + i_k * V + i_v] * k_S_all_row[i_n * V + i_v];
                            d_S_plus_q_d_o_k_S_all_row[i_n * K + i_k] = sum;
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) k_d_S_plus_q_d_o_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) k_d_S_plus_q_d_o_all_row[i_n * V
                                    + i_v] += k_row[i_n * K + i_k] * d_S_plus_q_d_o_all_row[i_n * (K * V)
                                    + i_k * V + i_v];
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const v_row = v + (first_b * T + i_t) * (N * V);
                    const real *const a_row = a + (first_b * T + i_t) * N;
                    const real *const b_row = b + (first_b * T + i_t) * N;
                    const real *const S_row = S + (first_b * T + i_t) * (K * N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                // std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
                                const real k_k_S = k_row[i_n * K + i_k] * k_S_all_row[i_n * V + i_v];
                                const real S_next_difference = S_row[i_n * (K * V) + i_k * V + i_v]
                                        - b_row[i_n] * k_k_S;
                                const real k_v = k_row[i_n * K + i_k] * v_row[i_n * V + i_v];
                                const real S_next = a_row[i_n] * S_next_difference + b_row[i_n] * k_v;
                                const real d_a_product = d_S_plus_q_d_o_all_row[i_n * (K * V) + i_k * V
                                        + i_v] * S_next_difference;
                                const real a_wide_d_S_plus_q_d_o = a_row[i_n] * d_S_plus_q_d_o_all_row[i_n
                                        * (K * V) + i_k * V + i_v];
                                const real d_b_sum = d_S_plus_q_d_o_all_row[i_n * (K * V) + i_k * V + i_v]
                                        * k_v + -a_wide_d_S_plus_q_d_o * k_k_S;
                                S_next_all_row[i_n * (K * V) + i_k * V + i_v] = S_next;
                                d_a_product_all_row[i_n * (K * V) + i_k * V + i_v] = d_a_product;
                                a_wide_d_S_plus_q_d_o_all_row[i_n * (K * V) + i_k * V + i_v]
                                        = a_wide_d_S_plus_q_d_o;
                                d_b_sum_all_row[i_n * (K * V) + i_k * V + i_v] = d_b_sum;
                            }
                        }
                    }
                }
                {
                    const real *const d_o_row = d_o + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            real sum = 0;
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_o_row[i_n * V + i_v]
                                    * S_next_all_row[i_n * (K * V) + i_k * V + i_v];
                            d_q_all_row[i_n * K + i_k] = sum;
                        }
                    }
                }
                {
                    const real *const S_row = S + (first_b * T + i_t) * (K * N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            real sum = 0;
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += k_d_S_plus_q_d_o_all_row[i_n * V
                                    + i_v] * S_row[i_n * (K * V) + i_k * V + i_v];
                            k_d_S_plus_q_d_o_S_all_row[i_n * K + i_k] = sum;
                        }
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_a_product_all_row[i_n * (K * V)
                                    + i_k * V + i_v];
                        }
                        d_a_all_row[i_n] = sum;
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_b_sum_all_row[i_n * (K * V) + i_k
                                    * V + i_v];
                        }
                        d_b_all_row[i_n] = sum;
                    }
                }
                {
                    const real *const a_row = a + (first_b * T + i_t) * N;
                    const real *const b_row = b + (first_b * T + i_t) * N;
                    real *const d_v_row = d_v + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            const real d_v = b_row[i_n] * k_d_S_plus_q_d_o_all_row[i_n * V + i_v];
                            const real d_S_next_product = b_row[i_n] * (-a_row[i_n]
                                    * k_d_S_plus_q_d_o_all_row[i_n * V + i_v]);
                            d_v_row[i_n * V + i_v] = d_v;
                            d_S_next_product_all_row[i_n * V + i_v] = d_S_next_product;
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                const real d_S_next = a_wide_d_S_plus_q_d_o_all_row[i_n * (K * V) + i_k * V
                                        + i_v] + k_row[i_n * K + i_k] * d_S_next_product_all_row[i_n * V
                                        + i_v];
                                d_S_now_row[i_n * (K * V) + i_k * V + i_v] = d_S_next;
                            }
                        }
                    }
                }
                {
                    const real *const a_row = a + (first_b * T + i_t) * N;
                    const real *const b_row = b + (first_b * T + i_t) * N;
                    real *const d_k_row = d_k + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_k = 0; i_k < K; i_k++) {
                            const real d_k_sum = b_row[i_n] * d_S_plus_q_d_o_v_all_row[i_n * K + i_k]
                                    + b_row[i_n] * (-a_row[i_n] * d_S_plus_q_d_o_k_S_all_row[i_n * K + i_k]);
                            const real d_k = d_k_sum + b_row[i_n] * (-a_row[i_n]
                                    * k_d_S_plus_q_d_o_S_all_row[i_n * K + i_k]);
                            d_k_row[i_n * K + i_k] = d_k;
                        }
                    }
                }
                {
                    real *const d_q_row = d_q + (first_b * T + i_t) * (K * N);
                    real *const d_a_row = d_a + (first_b * T + i_t) * N;
                    real *const d_b_row = d_b + (first_b * T + i_t) * N;
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_k = 0; i_k < K; i_k++) {
                            d_q_row[i_n * K + i_k] = d_q_all_row[i_n * K + i_k];
                        }
                    }
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        d_a_row[i_n] = d_a_all_row[i_n];
                    }
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        d_b_row[i_n] = d_b_all_row[i_n];
                    }
                }
            }
            {
                real *const d_S_T_row = d_S_T + first_b * (K * N * V);
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            d_S_T_row[i_n * (K * V) + i_k * V + i_v] = d_S_now_row[i_n * (K * V) + i_k * V
                                    + i_v];
                        }
                    }
                }
            }
            free(d_S_now_row);
            free(k_S_all_row);
            free(S_next_all_row);
            free(d_q_all_row);
            free(d_S_plus_q_d_o_all_row);
            free(d_S_plus_q_d_o_v_all_row);
            free(d_S_plus_q_d_o_k_S_all_row);
            free(k_d_S_plus_q_d_o_all_row);
            free(k_d_S_plus_q_d_o_S_all_row);
            free(d_a_product_all_row);
            free(d_a_all_row);
            free(a_wide_d_S_plus_q_d_o_all_row);
            free(d_b_sum_all_row);
            free(d_b_all_row);
            free(d_S_next_product_all_row);
        }
    }
}
"""


def d_S_launch(q, k, v, a, b, S, d_o, d_S):
    """Run `d_S_kernel`: what it keeps of every position, then the last states."""
    batch, length = q.shape[:2]
    d_q = d_S.new_empty((batch, length, N, K), dtype=torch.float32)
    d_k = d_S.new_empty((batch, length, N, K), dtype=torch.float32)
    d_v = d_S.new_empty((batch, length, N, V), dtype=torch.float32)
    d_a = d_S.new_empty((batch, length, N), dtype=torch.float32)
    d_b = d_S.new_empty((batch, length, N), dtype=torch.float32)
    d_S_T = torch.empty_like(d_S, memory_format=torch.contiguous_format)
    kernel = library(C_FUNCTIONS + d_S_kernel_code).d_S_kernel
    run_native(
        kernel,
        [
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            a.contiguous(),
            b.contiguous(),
            S.contiguous(),
            d_o.contiguous(),
            d_S.contiguous(),
            d_q,
            d_k,
            d_v,
            d_a,
            d_b,
            d_S_T,
        ],
        [batch, length, N, K, V, torch.get_num_threads()],
    )
    return d_q, d_k, d_v, d_a, d_b, d_S_T


@Operator
def d_S_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_native(tensors[0]):
        return list(d_S_launch(*tensors))
    return separate(d_S_plain(*tensors), tensors)


@d_S_operator.register_fake
def _(tensors, length, every):
    d_S = tensors[-1]
    batch = d_S.shape[0]
    return [
        d_S.new_empty((batch, length, N, K), dtype=torch.float32),
        d_S.new_empty((batch, length, N, K), dtype=torch.float32),
        d_S.new_empty((batch, length, N, V), dtype=torch.float32),
        d_S.new_empty((batch, length, N), dtype=torch.float32),
        d_S.new_empty((batch, length, N), dtype=torch.float32),
        torch.empty_like(d_S, memory_format=torch.contiguous_format),
    ]


d_S_operator.register_vmap(folded(d_S_operator, (True, True, True, True, True, True, True, True)))


def d_S_loop(q, k, v, a, b, S, d_o, d_S):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_S_operator([q, k, v, a, b, S, d_o, d_S], q.shape[1], 0)


def d_S_plain(q, k, v, a, b, S, d_o, d_S):
    """d_S over time in plain PyTorch, from the end to the start: d_q, d_k, d_v, d_a, d_b of every
    position, then the last states.
    """
    all_d_q = []
    all_d_k = []
    all_d_v = []
    all_d_a = []
    all_d_b = []
    for q, k, v, a, b, S, d_o in positions(q, k, v, a, b, S, d_o, reverse=True):
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        k_S = torch.einsum("bnk,bnkv->bnv", k, S)  # [B, N, V]
        k_k_S = k[..., None] * k_S[..., None, :]  # [B, N, K, V]
        S_next_difference = S - b[..., None, None] * k_k_S
        k_v = k[..., None] * v[..., None, :]  # [B, N, K, V]
        S_next = a[..., None, None] * S_next_difference + b[..., None, None] * k_v
        d_q = torch.einsum("bnv,bnkv->bnk", d_o, S_next)  # [B, N, K]
        d_S_plus_q_d_o = d_S + q[..., None] * d_o[..., None, :]
        b_wide_d_S_plus_q_d_o = b[..., None, None] * d_S_plus_q_d_o
        a_wide_d_S_plus_q_d_o = a[..., None, None] * d_S_plus_q_d_o
        minus_a_wide_d_S_plus_q_d_o = -a_wide_d_S_plus_q_d_o
        d_k_product = b[..., None, None] * minus_a_wide_d_S_plus_q_d_o
        d_k_sum = (
            torch.einsum("bnkv,bnv->bnk", b_wide_d_S_plus_q_d_o, v)
            + torch.einsum("bnkv,bnv->bnk", d_k_product, k_S)
        )
        k_d_k_product = torch.einsum("bnk,bnkv->bnv", k, d_k_product)  # [B, N, V]
        d_k = d_k_sum + torch.einsum("bnv,bnkv->bnk", k_d_k_product, S)
        d_v = torch.einsum("bnk,bnkv->bnv", k, b_wide_d_S_plus_q_d_o)  # [B, N, V]
        d_a = (d_S_plus_q_d_o * S_next_difference).sum((-2, -1))  # [B, N]
        d_b = (d_S_plus_q_d_o * k_v + minus_a_wide_d_S_plus_q_d_o * k_k_S).sum((-2, -1))  # [B, N]
        d_S_next = a_wide_d_S_plus_q_d_o + k[..., None] * k_d_k_product[..., None, :]
        all_d_q.append(d_q)
        all_d_k.append(d_k)
        all_d_v.append(d_v)
        all_d_a.append(d_a)
        all_d_b.append(d_b)
        d_S = d_S_next
    return (
        over_time(all_d_q, (N, K), torch.float32, d_S, reverse=True),
        over_time(all_d_k, (N, K), torch.float32, d_S, reverse=True),
        over_time(all_d_v, (N, V), torch.float32, d_S, reverse=True),
        over_time(all_d_a, (N,), torch.float32, d_S, reverse=True),
        over_time(all_d_b, (N,), torch.float32, d_S, reverse=True),
        d_S,
    )


def S_adjoint(q, k, v, a, b, S, d_o, d_S_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    d_q, d_k, d_v, d_a, d_b, d_S_last_2 = d_S_loop(q, k, v, a, b, S, d_o, d_S_last)

    return d_q, d_k, d_v, d_a, d_b, d_S_last_2


@Operator
def S_pieces(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """The derivative of the loop, from the states that it kept at the start of each piece."""

    def run(reads, statics, starts, length):
        return S_operator([*reads, *statics, *starts], length, 1)[2:]

    def adjoint(reads, statics, arriving, seeds, lasts):
        found = S_adjoint(*reads, *statics, arriving[0], *seeds, *lasts)
        return found[:5], found[5:5], found[5:]

    found = in_pieces(run, adjoint, tensors, (5, 0, 1, 1, 1), length, every, False)
    return separate(found, tensors)


@S_pieces.register_fake
def _(tensors, length, every):
    return [
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            tensors[4],
            *tensors[-1:],
        )
    ]


S_pieces.register_vmap(folded(S_pieces, (False, False, False, False, False, False, False, False)))


class SDerivative(torch.autograd.Function):
    """`S_pieces`, whose own derivative goes through `S_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, q, k, v, a, b, S, S_saved, d_o, d_S_last):
        if not every:
            every = piece_size(length)
            *_, S_saved = S_operator([q, k, v, a, b, S], length, every)
        return tuple(S_pieces([q, k, v, a, b, S_saved, d_o, d_S_last], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:6], *tensors[7:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(S_plain, tensors[:6], tensors[6:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:6], None, *found[6:]


class SLoop(torch.autograd.Function):
    """`S_operator`, whose derivative is `SDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, q, k, v, a, b, S):
        return tuple(S_operator([q, k, v, a, b, S], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        S = tensors[5]
        batch, length = S.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], S, (batch, length, N, V), torch.float32),
            filled(cotangents[1], S, S.shape, S.dtype),
        ]
        return None, None, *SDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"S": torch.zeros((batch, N, K, V), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["q"].shape[:2]
    device = inputs["q"].device
    q = taken(inputs, "q", (batch, length, N, K), torch.float32)
    k = taken(inputs, "k", (batch, length, N, K), torch.float32)
    v = taken(inputs, "v", (batch, length, N, V), torch.float32)
    a = taken(inputs, "a", (batch, length, N), torch.float32)
    b = taken(inputs, "b", (batch, length, N), torch.float32)
    state = starting(params, state, batch, device)

    o, S_last = S_loop(q, k, v, a, b, state["S"])

    return {"o": o}, {"S": S_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class GatedDelta(torch.nn.Module):
    """`apply` and `step` with parameters of their own."""

    def __init__(self, seed=0, device=None):
        super().__init__()
        for name, param in init(seed, device).items():
            register(self, name, param)

    def forward(self, inputs, state=None, **options):
        return apply(dict(self.named_parameters()), inputs, state, **options)

    def step(self, inputs, state=None, **options):
        return step(dict(self.named_parameters()), inputs, state, **options)


SCHEDULE = {
    "S": "one C loop over time for each sequence",
}
KERNELS = ()
