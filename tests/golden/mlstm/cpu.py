"""mlstm: Matrix LSTM of xLSTM (Beck et al., 2024, equations 19 to 27), with the running maximum that keeps it
finite.

Keys are scaled by the caller or here, not in both places: the cell takes them as they enter the memory.

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; i, f [B, T, N]
    state    C [B, N, K, V]; n [B, N, K]; m [B, N]
    outputs  h [B, T, N, V]

Schedule of C, n, m: one C loop over time for each sequence.
Backward pass of C, n, m: one C loop over time for each sequence, from C, n, m kept at the start of about as
    many pieces as a piece has positions.

Made from std/mlstm by
    lsrl compile std/mlstm --target cpu
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
import torch.nn.functional as F

N, K, V = 4, 64, 64


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
OPERATORS = own_namespace("lsrl_a8175bd7a582")


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

// A function that stands where it is called: loops vectorise, and constant arguments make copies of their own.
#define INLINE static inline __attribute__((always_inline))

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

// The bits of a number.
typedef uint32_t word;

// The compiler's own form of a function of <math.h>.
#define libm(name) __builtin_##name##f

// How a number is laid out: bits of fraction below those of the exponent, and what the exponent counts from.
#define FRACTION_BITS 23
#define EXPONENT_BIAS 127
#define LEAST_NORMAL 0x1p-126f

// Added to a number of few digits, it leaves the nearest whole number in the last bits.
#define ROUNDING 0x1.8p23f

// 1 / ln 2, and ln 2 in two parts: whole multiples of the first are exact.
#define PER_LN2 1.44269504f
#define LN2_HIGH 0x1.62e4p-1f
#define LN2_LOW 0x1.7f7d1cp-20f

// Where e^x is infinite, where it is 0, and where e^x - 1 is -1.
#define EXP_MOST 89.0f
#define EXP_LEAST -104.0f
#define EXPM1_LEAST -18.0f

// (e^z - 1 - z) / z^2 for |z| <= ln 2 / 2, to 2^-28.
INLINE real exp_series(real z) {
    real sum = 0.00138131409f;
    sum = sum * z + 0.00836941894f;
    sum = sum * z + 0.0416684569f;
    sum = sum * z + 0.166665148f;
    return sum * z + 0.499999931f;
}

// (log((1 + s) / (1 - s)) / s - 2) / z of z = s^2, for s of 1 + s : 1 - s in [sqrt 0.5, sqrt 2], to 2^-30.
INLINE real log_series(real z) {
    real sum = 0.298852073f;
    sum = sum * z + 0.399770793f;
    return sum * z + 0.666667798f;
}

// -1, 0 or 1; x itself where it is 0 or NaN.
INLINE real sign_(real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

// x where it is above 0, else 0; NaN stays.
INLINE real relu_(real x) { return x < 0 ? 0 : x; }

// x without its sign.
INLINE real abs_(real x) { return libm(fabs)(x); }

// The larger; NaN where one of them is.
INLINE real maximum(real x, real y) {
    real more = x > y ? x : y;
    return x != x ? x : more;
}

// The bits of a number.
INLINE word to_word(real x) {
    word bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The number of some bits.
INLINE real from_word(word bits) {
    real x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

// 2^n, where that is a normal number.
INLINE real two_to(word n) { return from_word((n + EXPONENT_BIAS) << FRACTION_BITS); }

// x - n ln 2 for the nearest whole n; x is held where e^x is neither infinite nor 0.
INLINE real exp_reduced(real x, word *n) {
    real most = x > EXP_MOST ? EXP_MOST : x, held = most < EXP_LEAST ? EXP_LEAST : most;
    real shifted = held * PER_LN2 + ROUNDING, whole = shifted - ROUNDING;
    *n = to_word(shifted) - to_word(ROUNDING);
    return (held - whole * LN2_HIGH) - whole * LN2_LOW;
}

// 2^n e^r for |r| <= ln 2 / 2; 2^n in two factors, since it may be no normal number.
INLINE real exp_scaled(real r, word n) {
    word half = ((n + 4096) >> 1) - 2048;
    return (1 + (r + r * r * exp_series(r))) * two_to(half) * two_to(n - half);
}

// e^x; within 1 ulp.
INLINE real exp_(real x) {
    word n;
    real r = exp_reduced(x, &n);
    return exp_scaled(r, n);
}

// log(2^n (1 + f)) + rest for 1 + f in [sqrt 0.5, sqrt 2], summed from the smallest to the largest.
INLINE real log_sum(real n, real f, real rest) {
    real s = f / (2 + f), z = s * s, h = (real)0.5 * f * f;
    return n * LN2_HIGH - ((h - (s * (h + z * log_series(z)) + (n * LN2_LOW + rest))) - f);
}

// log(1 + x) for x in [0, 1].
INLINE real log1p_unit(real x) {
    bool above = x > (real)0.41421356237309504880;
    return log_sum(above ? 1 : 0, above ? (x - 1) / 2 : x, 0);
}

// 1 / (1 + e^-x), without overflow on either side; within 2 ulp.
INLINE real sigmoid_(real x) {
    real small = exp_(-abs_(x));
    return (x >= 0 ? 1 : small) / (1 + small);
}

// log(1 + e^x), without overflow; within 2 ulp.
INLINE real softplus_(real x) { return relu_(x) + log1p_unit(exp_(-abs_(x))); }

// log(sigmoid(x)), without overflow; within 2 ulp.
INLINE real logsigmoid_(real x) { return -softplus_(-x); }
"""


C_n_m_kernel_code = r"""
void C_n_m_kernel(
    const real *q,  // [B, T, N, K]
    const real *k,  // [B, T, N, K]
    const real *v,  // [B, T, N, V]
    const real *i,  // [B, T, N]
    const real *f,  // [B, T, N]
    const real *C_0,  // [B, N, K, V], at the start
    const real *n_0,  // [B, N, K], at the start
    const real *m_0,  // [B, N], at the start
    real *h,  // [B, T, N, V], written
    real *C_T,  // [B, N, K, V], at the end, written
    real *n_T,  // [B, N, K], at the end, written
    real *m_T,  // [B, N], at the end, written
    real *C_saved,  // [B, P, N, K, V], now and then, written
    real *n_saved,  // [B, P, N, K], now and then, written
    real *m_saved,  // [B, P, N], now and then, written
    long B, long T, long EVERY, long N, long K, long V, long threads
) {
    const long saves = EVERY ? (T + EVERY - 1) / EVERY : 0;
    write_in_large_pages(h, B * T * (N * V) * (long)sizeof(real));
    write_in_large_pages(C_saved, B * saves * (K * N * V) * (long)sizeof(real));
    write_in_large_pages(n_saved, B * saves * (K * N) * (long)sizeof(real));
    write_in_large_pages(m_saved, B * saves * (N) * (long)sizeof(real));
    if (B * T * (K * N * V + K * N + N) < 32768) threads = 1;  // more would wait for it
    const long near = 32768 / ((K * V + K + 1) * (long)sizeof(real));
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
            real *C_now_row = new_array((K * N * V) * sizeof(real));
            real *n_now_row = new_array((K * N) * sizeof(real));
            real *m_now_row = new_array((N) * sizeof(real));
            real *C_next_exp_all_row = new_array((N) * sizeof(real));
            real *exp_i_minus_m_next_all_row = new_array((N) * sizeof(real));
            real *q_C_next_all_row = new_array((N * V) * sizeof(real));
            real *q_n_next_all_row = new_array((N) * sizeof(real));
            real *h_max_all_row = new_array((N) * sizeof(real));
            {
                const real *const C_0_row = C_0 + first_b * (K * N * V);
                const real *const n_0_row = n_0 + first_b * (K * N);
                const real *const m_0_row = m_0 + first_b * N;
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            C_now_row[i_n * (K * V) + i_k * V + i_v] = C_0_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                for (long i_n = from; i_n < to; i_n++) {
                    #pragma omp simd
                    for (long i_k = 0; i_k < K; i_k++) {
                        n_now_row[i_n * K + i_k] = n_0_row[i_n * K + i_k];
                    }
                }
                #pragma omp simd
                for (long i_n = from; i_n < to; i_n++) {
                    m_now_row[i_n] = m_0_row[i_n];
                }
            }
            for (long step = 0; step < T; step++) {
                const long i_t = step;
                if (EVERY && step % EVERY == 0) {
                    const long slot = step / EVERY;
                    {
                        real *const C_saved_row = C_saved + (first_b * saves + slot) * (K * N * V);
                        real *const n_saved_row = n_saved + (first_b * saves + slot) * (K * N);
                        real *const m_saved_row = m_saved + (first_b * saves + slot) * N;
                        for (long i_n = from; i_n < to; i_n++) {
                            for (long i_k = 0; i_k < K; i_k++) {
                                #pragma omp simd
                                for (long i_v = 0; i_v < V; i_v++) {
                                    C_saved_row[i_n * (K * V) + i_k * V + i_v] = C_now_row[i_n * (K * V)
                                            + i_k * V + i_v];
                                }
                            }
                        }
                        for (long i_n = from; i_n < to; i_n++) {
                            #pragma omp simd
                            for (long i_k = 0; i_k < K; i_k++) {
                                n_saved_row[i_n * K + i_k] = n_now_row[i_n * K + i_k];
                            }
                        }
                        #pragma omp simd
                        for (long i_n = from; i_n < to; i_n++) {
                            m_saved_row[i_n] = m_now_row[i_n];
                        }
                    }
                }
                {
                    const real *const i_row = i + (first_b * T + i_t) * N;
                    const real *const f_row = f + (first_b * T + i_t) * N;
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        const real m = m_now_row[i_n];
                        // std/mlstm.lsrl:10  lf = logsigmoid(f)
                        const real lf = logsigmoid_(f_row[i_n]);
                        // std/mlstm.lsrl:11  m' = max(lf + m, i)
                        const real lf_plus_m = lf + m;
                        const real m_next = maximum(lf_plus_m, i_row[i_n]);
                        // std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
                        const real C_next_exp = exp_(lf_plus_m - m_next);
                        const real exp_i_minus_m_next = exp_(i_row[i_n] - m_next);
                        m_now_row[i_n] = m_next;
                        C_next_exp_all_row[i_n] = C_next_exp;
                        exp_i_minus_m_next_all_row[i_n] = exp_i_minus_m_next;
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const v_row = v + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                const real C = C_now_row[i_n * (K * V) + i_k * V + i_v];
                                // std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
                                const real exp_i_minus_m_next_wide_k_v = exp_i_minus_m_next_all_row[i_n]
                                        * (k_row[i_n * K + i_k] * v_row[i_n * V + i_v]);
                                const real C_next = C_next_exp_all_row[i_n] * C + exp_i_minus_m_next_wide_k_v;
                                C_now_row[i_n * (K * V) + i_k * V + i_v] = C_next;
                            }
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_k = 0; i_k < K; i_k++) {
                            const real n = n_now_row[i_n * K + i_k];
                            // std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
                            const real n_next = C_next_exp_all_row[i_n] * n
                                    + exp_i_minus_m_next_all_row[i_n] * k_row[i_n * K + i_k];
                            n_now_row[i_n * K + i_k] = n_next;
                        }
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) q_C_next_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) q_C_next_all_row[i_n * V + i_v] += q_row[i_n
                                    * K + i_k] * C_now_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        #pragma omp simd reduction(+ : sum)
                        for (long i_k = 0; i_k < K; i_k++) sum += q_row[i_n * K + i_k] * n_now_row[i_n * K
                                + i_k];
                        q_n_next_all_row[i_n] = sum;
                    }
                }
                {
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                        const real h_max = maximum(abs_(q_n_next_all_row[i_n]), exp_(-m_now_row[i_n]));
                        h_max_all_row[i_n] = h_max;
                    }
                }
                {
                    real *const h_row = h + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                            const real h = q_C_next_all_row[i_n * V + i_v] / h_max_all_row[i_n];
                            h_row[i_n * V + i_v] = h;
                        }
                    }
                }
            }
            {
                real *const C_T_row = C_T + first_b * (K * N * V);
                real *const n_T_row = n_T + first_b * (K * N);
                real *const m_T_row = m_T + first_b * N;
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            C_T_row[i_n * (K * V) + i_k * V + i_v] = C_now_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                for (long i_n = from; i_n < to; i_n++) {
                    #pragma omp simd
                    for (long i_k = 0; i_k < K; i_k++) {
                        n_T_row[i_n * K + i_k] = n_now_row[i_n * K + i_k];
                    }
                }
                #pragma omp simd
                for (long i_n = from; i_n < to; i_n++) {
                    m_T_row[i_n] = m_now_row[i_n];
                }
            }
            free(C_now_row);
            free(n_now_row);
            free(m_now_row);
            free(C_next_exp_all_row);
            free(exp_i_minus_m_next_all_row);
            free(q_C_next_all_row);
            free(q_n_next_all_row);
            free(h_max_all_row);
        }
    }
}
"""


def C_n_m_launch(q, k, v, i, f, C, n, m, every=0):
    """Run `C_n_m_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = q.shape[:2]
    h = C.new_empty((batch, length, N, V), dtype=torch.float32)
    C_T = torch.empty_like(C, memory_format=torch.contiguous_format)
    n_T = torch.empty_like(n, memory_format=torch.contiguous_format)
    m_T = torch.empty_like(m, memory_format=torch.contiguous_format)
    C_saved = C.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32)
    n_saved = C.new_empty((batch, saves(length, every), N, K), dtype=torch.float32)
    m_saved = C.new_empty((batch, saves(length, every), N), dtype=torch.float32)
    kernel = library(C_FUNCTIONS + C_n_m_kernel_code).C_n_m_kernel
    run_native(
        kernel,
        [
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            i.contiguous(),
            f.contiguous(),
            C.contiguous(),
            n.contiguous(),
            m.contiguous(),
            h,
            C_T,
            n_T,
            m_T,
            C_saved,
            n_saved,
            m_saved,
        ],
        [batch, length, every, N, K, V, torch.get_num_threads()],
    )
    return h, C_T, n_T, m_T, C_saved, n_saved, m_saved


@Operator
def C_n_m_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_native(tensors[0]):
        return list(C_n_m_launch(*tensors, every))
    return separate(C_n_m_plain(*tensors, every), tensors)


@C_n_m_operator.register_fake
def _(tensors, length, every):
    C, n, m = tensors[-3:]
    batch = C.shape[0]
    return [
        C.new_empty((batch, length, N, V), dtype=torch.float32),
        torch.empty_like(C, memory_format=torch.contiguous_format),
        torch.empty_like(n, memory_format=torch.contiguous_format),
        torch.empty_like(m, memory_format=torch.contiguous_format),
        C.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32),
        C.new_empty((batch, saves(length, every), N, K), dtype=torch.float32),
        C.new_empty((batch, saves(length, every), N), dtype=torch.float32),
    ]


C_n_m_operator.register_vmap(folded(C_n_m_operator, (True, True, True, True, True, True, True, True)))


def C_n_m_loop(q, k, v, i, f, C, n, m):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = piece_size(q.shape[1]) if wants_gradients(q, k, v, i, f, C, n, m) else 0
    return CNMLoop.apply(q.shape[1], every, q, k, v, i, f, C, n, m)[:4]


def C_n_m_plain(q, k, v, i, f, C, n, m, every=0):
    """C, n, m over time in plain PyTorch: h of every position, then the last states, then the arriving
    states of positions `every` apart.
    """
    all_h = []
    C_saved = []
    n_saved = []
    m_saved = []
    for at, (q, k, v, i, f) in enumerate(positions(q, k, v, i, f)):
        if every and at % every == 0:
            C_saved.append(C)
            n_saved.append(n)
            m_saved.append(m)
        # std/mlstm.lsrl:10  lf = logsigmoid(f)
        lf = F.logsigmoid(f)
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        lf_plus_m = lf + m
        m_next = torch.maximum(lf_plus_m, i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        exp_lf_plus_m_minus_m_next = torch.exp(lf_plus_m - m_next)
        exp_i_minus_m_next = torch.exp(i - m_next)
        C_next = (
            exp_lf_plus_m_minus_m_next[..., None, None] * C
            + exp_i_minus_m_next[..., None, None] * (k[..., None] * v[..., None, :])
        )
        # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
        n_next = exp_lf_plus_m_minus_m_next[..., None] * n + exp_i_minus_m_next[..., None] * k
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        h_max = torch.maximum(torch.abs(torch.einsum("bnk,bnk->bn", q, n_next)), torch.exp(-m_next))
        h = torch.einsum("bnk,bnkv->bnv", q, C_next) / h_max[..., None]
        all_h.append(h)
        C, n, m = C_next, n_next, m_next
    return (
        over_time(all_h, (N, V), torch.float32, C),
        C,
        n,
        m,
        over_time(C_saved, (N, K, V), torch.float32, C),
        over_time(n_saved, (N, K), torch.float32, C),
        over_time(m_saved, (N,), torch.float32, C),
    )


d_Cnm_kernel_code = r"""
void d_Cnm_kernel(
    const real *q,  // [B, T, N, K]
    const real *k,  // [B, T, N, K]
    const real *v,  // [B, T, N, V]
    const real *i,  // [B, T, N]
    const real *f,  // [B, T, N]
    const real *C,  // [B, T, N, K, V]
    const real *n,  // [B, T, N, K]
    const real *m,  // [B, T, N]
    const real *d_h,  // [B, T, N, V]
    const real *d_C_0,  // [B, N, K, V], at the start
    const real *d_n_0,  // [B, N, K], at the start
    const real *d_m_0,  // [B, N], at the start
    real *d_q,  // [B, T, N, K], written
    real *d_k,  // [B, T, N, K], written
    real *d_v,  // [B, T, N, V], written
    real *d_i,  // [B, T, N], written
    real *d_f,  // [B, T, N], written
    real *d_C_T,  // [B, N, K, V], at the end, written
    real *d_n_T,  // [B, N, K], at the end, written
    real *d_m_T,  // [B, N], at the end, written
    long B, long T, long N, long K, long V, long threads
) {
    write_in_large_pages(d_q, B * T * (K * N) * (long)sizeof(real));
    write_in_large_pages(d_k, B * T * (K * N) * (long)sizeof(real));
    write_in_large_pages(d_v, B * T * (N * V) * (long)sizeof(real));
    write_in_large_pages(d_i, B * T * (N) * (long)sizeof(real));
    write_in_large_pages(d_f, B * T * (N) * (long)sizeof(real));
    if (B * T * (K * N * V + K * N + N) < 32768) threads = 1;  // more would wait for it
    const long near = 32768 / ((K * V + K + 1) * (long)sizeof(real));
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
            real *d_C_now_row = new_array((K * N * V) * sizeof(real));
            real *d_n_now_row = new_array((K * N) * sizeof(real));
            real *d_m_now_row = new_array((N) * sizeof(real));
            real *lf_plus_m_all_row = new_array((N) * sizeof(real));
            real *m_next_all_row = new_array((N) * sizeof(real));
            real *exp_lf_plus_m_minus_m_next_all_row = new_array((N) * sizeof(real));
            real *exp_i_minus_m_next_all_row = new_array((N) * sizeof(real));
            real *n_next_all_row = new_array((K * N) * sizeof(real));
            real *q_n_next_all_row = new_array((N) * sizeof(real));
            real *abs_q_n_next_all_row = new_array((N) * sizeof(real));
            real *exp_minus_m_next_all_row = new_array((N) * sizeof(real));
            real *d_q_max_all_row = new_array((N) * sizeof(real));
            real *d_h_over_d_q_max_wide_all_row = new_array((N * V) * sizeof(real));
            real *k_v_all_row = new_array((K * N * V) * sizeof(real));
            real *C_next_all_row = new_array((K * N * V) * sizeof(real));
            real *q_C_next_all_row = new_array((N * V) * sizeof(real));
            real *d_q_neg_all_row = new_array((N * V) * sizeof(real));
            real *sum_d_q_neg_all_row = new_array((N) * sizeof(real));
            real *d_q_choice_all_row = new_array((N) * sizeof(real));
            real *d_q_product_all_row = new_array((N) * sizeof(real));
            real *d_h_over_d_q_max_wide_C_next_all_row = new_array((K * N) * sizeof(real));
            real *d_k_sum_all_row = new_array((K * N * V) * sizeof(real));
            real *d_k_sum_v_all_row = new_array((K * N) * sizeof(real));
            real *k_d_k_sum_all_row = new_array((N * V) * sizeof(real));
            real *d_i_product_all_row = new_array((K * N) * sizeof(real));
            real *sum_d_i_product_all_row = new_array((N) * sizeof(real));
            real *d_k_sum_k_v_all_row = new_array((K * N * V) * sizeof(real));
            real *sum_d_k_sum_k_v_all_row = new_array((N) * sizeof(real));
            real *d_i_product_2_all_row = new_array((K * N) * sizeof(real));
            real *sum_d_i_product_2_all_row = new_array((N) * sizeof(real));
            real *d_k_sum_C_all_row = new_array((K * N * V) * sizeof(real));
            real *sum_d_k_sum_C_all_row = new_array((N) * sizeof(real));
            {
                const real *const d_C_0_row = d_C_0 + first_b * (K * N * V);
                const real *const d_n_0_row = d_n_0 + first_b * (K * N);
                const real *const d_m_0_row = d_m_0 + first_b * N;
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            d_C_now_row[i_n * (K * V) + i_k * V + i_v] = d_C_0_row[i_n * (K * V) + i_k * V
                                    + i_v];
                        }
                    }
                }
                for (long i_n = from; i_n < to; i_n++) {
                    #pragma omp simd
                    for (long i_k = 0; i_k < K; i_k++) {
                        d_n_now_row[i_n * K + i_k] = d_n_0_row[i_n * K + i_k];
                    }
                }
                #pragma omp simd
                for (long i_n = from; i_n < to; i_n++) {
                    d_m_now_row[i_n] = d_m_0_row[i_n];
                }
            }
            for (long step = 0; step < T; step++) {
                const long i_t = T - 1 - step;
                {
                    const real *const i_row = i + (first_b * T + i_t) * N;
                    const real *const f_row = f + (first_b * T + i_t) * N;
                    const real *const m_row = m + (first_b * T + i_t) * N;
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        // std/mlstm.lsrl:10  lf = logsigmoid(f)
                        const real lf = logsigmoid_(f_row[i_n]);
                        // std/mlstm.lsrl:11  m' = max(lf + m, i)
                        const real lf_plus_m = lf + m_row[i_n];
                        const real m_next = maximum(lf_plus_m, i_row[i_n]);
                        // std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
                        const real exp_lf_plus_m_minus_m_next = exp_(lf_plus_m - m_next);
                        const real exp_i_minus_m_next = exp_(i_row[i_n] - m_next);
                        lf_plus_m_all_row[i_n] = lf_plus_m;
                        m_next_all_row[i_n] = m_next;
                        exp_lf_plus_m_minus_m_next_all_row[i_n] = exp_lf_plus_m_minus_m_next;
                        exp_i_minus_m_next_all_row[i_n] = exp_i_minus_m_next;
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const v_row = v + (first_b * T + i_t) * (N * V);
                    const real *const C_row = C + (first_b * T + i_t) * (K * N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                // std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
                                const real C_next_product = exp_lf_plus_m_minus_m_next_all_row[i_n]
                                        * C_row[i_n * (K * V) + i_k * V + i_v];
                                const real k_v = k_row[i_n * K + i_k] * v_row[i_n * V + i_v];
                                const real C_next = C_next_product + exp_i_minus_m_next_all_row[i_n] * k_v;
                                k_v_all_row[i_n * (K * V) + i_k * V + i_v] = k_v;
                                C_next_all_row[i_n * (K * V) + i_k * V + i_v] = C_next;
                            }
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const n_row = n + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_k = 0; i_k < K; i_k++) {
                            // std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
                            const real n_next = exp_lf_plus_m_minus_m_next_all_row[i_n] * n_row[i_n * K
                                    + i_k] + exp_i_minus_m_next_all_row[i_n] * k_row[i_n * K + i_k];
                            n_next_all_row[i_n * K + i_k] = n_next;
                        }
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        #pragma omp simd reduction(+ : sum)
                        for (long i_k = 0; i_k < K; i_k++) sum += q_row[i_n * K + i_k] * n_next_all_row[i_n
                                * K + i_k];
                        q_n_next_all_row[i_n] = sum;
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) q_C_next_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) q_C_next_all_row[i_n * V + i_v] += q_row[i_n
                                    * K + i_k] * C_next_all_row[i_n * (K * V) + i_k * V + i_v];
                        }
                    }
                }
                {
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                        const real abs_q_n_next = abs_(q_n_next_all_row[i_n]);
                        const real exp_minus_m_next = exp_(-m_next_all_row[i_n]);
                        const real d_q_max = maximum(abs_q_n_next, exp_minus_m_next);
                        abs_q_n_next_all_row[i_n] = abs_q_n_next;
                        exp_minus_m_next_all_row[i_n] = exp_minus_m_next;
                        d_q_max_all_row[i_n] = d_q_max;
                    }
                }
                {
                    const real *const d_h_row = d_h + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            const real d_h_over_d_q_max_wide = d_h_row[i_n * V + i_v] / d_q_max_all_row[i_n];
                            // std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
                            const real h = q_C_next_all_row[i_n * V + i_v] / d_q_max_all_row[i_n];
                            const real d_q_neg = -d_h_over_d_q_max_wide * h;
                            d_h_over_d_q_max_wide_all_row[i_n * V + i_v] = d_h_over_d_q_max_wide;
                            d_q_neg_all_row[i_n * V + i_v] = d_q_neg;
                        }
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        #pragma omp simd reduction(+ : sum)
                        for (long i_v = 0; i_v < V; i_v++) sum += d_q_neg_all_row[i_n * V + i_v];
                        sum_d_q_neg_all_row[i_n] = sum;
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            real sum = 0;
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_h_over_d_q_max_wide_all_row[i_n * V
                                    + i_v] * C_next_all_row[i_n * (K * V) + i_k * V + i_v];
                            d_h_over_d_q_max_wide_C_next_all_row[i_n * K + i_k] = sum;
                        }
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    const real *const C_row = C + (first_b * T + i_t) * (K * N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) {
                                const real d_C = d_C_now_row[i_n * (K * V) + i_k * V + i_v];
                                const real d_k_sum = d_C + q_row[i_n * K + i_k]
                                        * d_h_over_d_q_max_wide_all_row[i_n * V + i_v];
                                const real d_k_sum_k_v = d_k_sum * k_v_all_row[i_n * (K * V) + i_k * V + i_v];
                                const real d_k_sum_C = d_k_sum * C_row[i_n * (K * V) + i_k * V + i_v];
                                const real d_C_next = exp_lf_plus_m_minus_m_next_all_row[i_n] * d_k_sum;
                                d_k_sum_all_row[i_n * (K * V) + i_k * V + i_v] = d_k_sum;
                                d_k_sum_k_v_all_row[i_n * (K * V) + i_k * V + i_v] = d_k_sum_k_v;
                                d_k_sum_C_all_row[i_n * (K * V) + i_k * V + i_v] = d_k_sum_C;
                                d_C_now_row[i_n * (K * V) + i_k * V + i_v] = d_C_next;
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
                            for (long i_v = 0; i_v < V; i_v++) sum += d_k_sum_all_row[i_n * (K * V) + i_k
                                    * V + i_v] * v_row[i_n * V + i_v];
                            d_k_sum_v_all_row[i_n * K + i_k] = sum;
                        }
                    }
                }
                {
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) k_d_k_sum_all_row[i_n * V + i_v] = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd
                            for (long i_v = 0; i_v < V; i_v++) k_d_k_sum_all_row[i_n * V
                                    + i_v] += k_row[i_n * K + i_k] * d_k_sum_all_row[i_n * (K * V) + i_k
                                    * V + i_v];
                        }
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_k_sum_k_v_all_row[i_n * (K * V)
                                    + i_k * V + i_v];
                        }
                        sum_d_k_sum_k_v_all_row[i_n] = sum;
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        for (long i_k = 0; i_k < K; i_k++) {
                            #pragma omp simd reduction(+ : sum)
                            for (long i_v = 0; i_v < V; i_v++) sum += d_k_sum_C_all_row[i_n * (K * V) + i_k
                                    * V + i_v];
                        }
                        sum_d_k_sum_C_all_row[i_n] = sum;
                    }
                }
                {
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        const real d_q_choice = ((abs_q_n_next_all_row[i_n]
                                == exp_minus_m_next_all_row[i_n]) ? sum_d_q_neg_all_row[i_n] * (real)0.5 : 0);
                        const real d_q_product_choice = ((abs_q_n_next_all_row[i_n]
                                > exp_minus_m_next_all_row[i_n]) ? sum_d_q_neg_all_row[i_n] : d_q_choice);
                        const real d_q_product = d_q_product_choice * sign_(q_n_next_all_row[i_n]);
                        d_q_choice_all_row[i_n] = d_q_choice;
                        d_q_product_all_row[i_n] = d_q_product;
                    }
                }
                {
                    const real *const q_row = q + (first_b * T + i_t) * (K * N);
                    const real *const k_row = k + (first_b * T + i_t) * (K * N);
                    const real *const n_row = n + (first_b * T + i_t) * (K * N);
                    real *const d_q_row = d_q + (first_b * T + i_t) * (K * N);
                    real *const d_k_row = d_k + (first_b * T + i_t) * (K * N);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_k = 0; i_k < K; i_k++) {
                            const real d_n = d_n_now_row[i_n * K + i_k];
                            const real d_q = d_q_product_all_row[i_n] * n_next_all_row[i_n * K + i_k]
                                    + d_h_over_d_q_max_wide_C_next_all_row[i_n * K + i_k];
                            const real d_n_plus_q_d_q_product = d_n + q_row[i_n * K + i_k]
                                    * d_q_product_all_row[i_n];
                            const real d_k = exp_i_minus_m_next_all_row[i_n] * d_n_plus_q_d_q_product
                                    + exp_i_minus_m_next_all_row[i_n] * d_k_sum_v_all_row[i_n * K + i_k];
                            const real d_i_product = d_n_plus_q_d_q_product * k_row[i_n * K + i_k];
                            const real d_i_product_2 = d_n_plus_q_d_q_product * n_row[i_n * K + i_k];
                            const real d_n_next = exp_lf_plus_m_minus_m_next_all_row[i_n]
                                    * d_n_plus_q_d_q_product;
                            d_q_row[i_n * K + i_k] = d_q;
                            d_k_row[i_n * K + i_k] = d_k;
                            d_i_product_all_row[i_n * K + i_k] = d_i_product;
                            d_i_product_2_all_row[i_n * K + i_k] = d_i_product_2;
                            d_n_now_row[i_n * K + i_k] = d_n_next;
                        }
                    }
                }
                {
                    real *const d_v_row = d_v + (first_b * T + i_t) * (N * V);
                    for (long i_n = from; i_n < to; i_n++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            const real d_v = exp_i_minus_m_next_all_row[i_n] * k_d_k_sum_all_row[i_n * V
                                    + i_v];
                            d_v_row[i_n * V + i_v] = d_v;
                        }
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        #pragma omp simd reduction(+ : sum)
                        for (long i_k = 0; i_k < K; i_k++) sum += d_i_product_all_row[i_n * K + i_k];
                        sum_d_i_product_all_row[i_n] = sum;
                    }
                }
                {
                    for (long i_n = from; i_n < to; i_n++) {
                        real sum = 0;
                        #pragma omp simd reduction(+ : sum)
                        for (long i_k = 0; i_k < K; i_k++) sum += d_i_product_2_all_row[i_n * K + i_k];
                        sum_d_i_product_2_all_row[i_n] = sum;
                    }
                }
                {
                    const real *const i_row = i + (first_b * T + i_t) * N;
                    const real *const f_row = f + (first_b * T + i_t) * N;
                    real *const d_i_row = d_i + (first_b * T + i_t) * N;
                    real *const d_f_row = d_f + (first_b * T + i_t) * N;
                    #pragma omp simd
                    for (long i_n = from; i_n < to; i_n++) {
                        const real d_m = d_m_now_row[i_n];
                        const real d_i_product_3 = (sum_d_i_product_all_row[i_n]
                                + sum_d_k_sum_k_v_all_row[i_n]) * exp_i_minus_m_next_all_row[i_n];
                        const real d_i_choice = ((exp_minus_m_next_all_row[i_n]
                                > abs_q_n_next_all_row[i_n]) ? sum_d_q_neg_all_row[i_n]
                                : d_q_choice_all_row[i_n]);
                        const real d_i_product_4 = (sum_d_i_product_2_all_row[i_n]
                                + sum_d_k_sum_C_all_row[i_n]) * exp_lf_plus_m_minus_m_next_all_row[i_n];
                        const real d_i_difference = d_m - d_i_choice * exp_minus_m_next_all_row[i_n]
                                - d_i_product_3 - d_i_product_4;
                        const real d_i_choice_2 = ((lf_plus_m_all_row[i_n] == i_row[i_n]) ? d_i_difference
                                * (real)0.5 : 0);
                        const real d_i = d_i_product_3 + ((i_row[i_n] > lf_plus_m_all_row[i_n])
                                ? d_i_difference : d_i_choice_2);
                        const real d_m_next = d_i_product_4 + ((lf_plus_m_all_row[i_n] > i_row[i_n])
                                ? d_i_difference : d_i_choice_2);
                        const real d_f = d_m_next * sigmoid_(-f_row[i_n]);
                        d_i_row[i_n] = d_i;
                        d_m_now_row[i_n] = d_m_next;
                        d_f_row[i_n] = d_f;
                    }
                }
            }
            {
                real *const d_C_T_row = d_C_T + first_b * (K * N * V);
                real *const d_n_T_row = d_n_T + first_b * (K * N);
                real *const d_m_T_row = d_m_T + first_b * N;
                for (long i_n = from; i_n < to; i_n++) {
                    for (long i_k = 0; i_k < K; i_k++) {
                        #pragma omp simd
                        for (long i_v = 0; i_v < V; i_v++) {
                            d_C_T_row[i_n * (K * V) + i_k * V + i_v] = d_C_now_row[i_n * (K * V) + i_k * V
                                    + i_v];
                        }
                    }
                }
                for (long i_n = from; i_n < to; i_n++) {
                    #pragma omp simd
                    for (long i_k = 0; i_k < K; i_k++) {
                        d_n_T_row[i_n * K + i_k] = d_n_now_row[i_n * K + i_k];
                    }
                }
                #pragma omp simd
                for (long i_n = from; i_n < to; i_n++) {
                    d_m_T_row[i_n] = d_m_now_row[i_n];
                }
            }
            free(d_C_now_row);
            free(d_n_now_row);
            free(d_m_now_row);
            free(lf_plus_m_all_row);
            free(m_next_all_row);
            free(exp_lf_plus_m_minus_m_next_all_row);
            free(exp_i_minus_m_next_all_row);
            free(n_next_all_row);
            free(q_n_next_all_row);
            free(abs_q_n_next_all_row);
            free(exp_minus_m_next_all_row);
            free(d_q_max_all_row);
            free(d_h_over_d_q_max_wide_all_row);
            free(k_v_all_row);
            free(C_next_all_row);
            free(q_C_next_all_row);
            free(d_q_neg_all_row);
            free(sum_d_q_neg_all_row);
            free(d_q_choice_all_row);
            free(d_q_product_all_row);
            free(d_h_over_d_q_max_wide_C_next_all_row);
            free(d_k_sum_all_row);
            free(d_k_sum_v_all_row);
            free(k_d_k_sum_all_row);
            free(d_i_product_all_row);
            free(sum_d_i_product_all_row);
            free(d_k_sum_k_v_all_row);
            free(sum_d_k_sum_k_v_all_row);
            free(d_i_product_2_all_row);
            free(sum_d_i_product_2_all_row);
            free(d_k_sum_C_all_row);
            free(sum_d_k_sum_C_all_row);
        }
    }
}
"""


def d_Cnm_launch(q, k, v, i, f, C, n, m, d_h, d_C, d_n, d_m):
    """Run `d_Cnm_kernel`: what it keeps of every position, then the last states."""
    batch, length = q.shape[:2]
    d_q = d_C.new_empty((batch, length, N, K), dtype=torch.float32)
    d_k = d_C.new_empty((batch, length, N, K), dtype=torch.float32)
    d_v = d_C.new_empty((batch, length, N, V), dtype=torch.float32)
    d_i = d_C.new_empty((batch, length, N), dtype=torch.float32)
    d_f = d_C.new_empty((batch, length, N), dtype=torch.float32)
    d_C_T = torch.empty_like(d_C, memory_format=torch.contiguous_format)
    d_n_T = torch.empty_like(d_n, memory_format=torch.contiguous_format)
    d_m_T = torch.empty_like(d_m, memory_format=torch.contiguous_format)
    kernel = library(C_FUNCTIONS + d_Cnm_kernel_code).d_Cnm_kernel
    run_native(
        kernel,
        [
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            i.contiguous(),
            f.contiguous(),
            C.contiguous(),
            n.contiguous(),
            m.contiguous(),
            d_h.contiguous(),
            d_C.contiguous(),
            d_n.contiguous(),
            d_m.contiguous(),
            d_q,
            d_k,
            d_v,
            d_i,
            d_f,
            d_C_T,
            d_n_T,
            d_m_T,
        ],
        [batch, length, N, K, V, torch.get_num_threads()],
    )
    return d_q, d_k, d_v, d_i, d_f, d_C_T, d_n_T, d_m_T


@Operator
def d_Cnm_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_native(tensors[0]):
        return list(d_Cnm_launch(*tensors))
    return separate(d_Cnm_plain(*tensors), tensors)


@d_Cnm_operator.register_fake
def _(tensors, length, every):
    d_C, d_n, d_m = tensors[-3:]
    batch = d_C.shape[0]
    return [
        d_C.new_empty((batch, length, N, K), dtype=torch.float32),
        d_C.new_empty((batch, length, N, K), dtype=torch.float32),
        d_C.new_empty((batch, length, N, V), dtype=torch.float32),
        d_C.new_empty((batch, length, N), dtype=torch.float32),
        d_C.new_empty((batch, length, N), dtype=torch.float32),
        torch.empty_like(d_C, memory_format=torch.contiguous_format),
        torch.empty_like(d_n, memory_format=torch.contiguous_format),
        torch.empty_like(d_m, memory_format=torch.contiguous_format),
    ]


d_Cnm_operator.register_vmap(
    folded(d_Cnm_operator, (True, True, True, True, True, True, True, True, True, True, True, True))
)


def d_Cnm_loop(q, k, v, i, f, C, n, m, d_h, d_C, d_n, d_m):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_Cnm_operator([q, k, v, i, f, C, n, m, d_h, d_C, d_n, d_m], q.shape[1], 0)


def d_Cnm_plain(q, k, v, i, f, C, n, m, d_h, d_C, d_n, d_m):
    """d_C, d_n, d_m over time in plain PyTorch, from the end to the start: d_q, d_k, d_v, d_i, d_f of
    every position, then the last states.
    """
    all_d_q = []
    all_d_k = []
    all_d_v = []
    all_d_i = []
    all_d_f = []
    for q, k, v, i, f, C, n, m, d_h in positions(q, k, v, i, f, C, n, m, d_h, reverse=True):
        # std/mlstm.lsrl:10  lf = logsigmoid(f)
        lf = F.logsigmoid(f)
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        lf_plus_m = lf + m
        m_next = torch.maximum(lf_plus_m, i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        exp_lf_plus_m_minus_m_next = torch.exp(lf_plus_m - m_next)
        exp_i_minus_m_next = torch.exp(i - m_next)
        k_v = k[..., None] * v[..., None, :]  # [B, N, K, V]
        C_next = exp_lf_plus_m_minus_m_next[..., None, None] * C + exp_i_minus_m_next[..., None, None] * k_v
        # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
        n_next = exp_lf_plus_m_minus_m_next[..., None] * n + exp_i_minus_m_next[..., None] * k
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        q_n_next = torch.einsum("bnk,bnk->bn", q, n_next)  # [B, N]
        abs_q_n_next = torch.abs(q_n_next)
        exp_minus_m_next = torch.exp(-m_next)
        d_q_wide = torch.maximum(abs_q_n_next, exp_minus_m_next)[..., None]  # [B, N, V]
        d_h_over_d_q_wide = d_h / d_q_wide
        h = torch.einsum("bnk,bnkv->bnv", q, C_next) / d_q_wide
        d_q_sum = (-d_h_over_d_q_wide * h).sum(-1)  # [B, N]
        d_q_choice = torch.where(abs_q_n_next == exp_minus_m_next, d_q_sum * 0.5, 0.0)
        d_q_product = torch.where(abs_q_n_next > exp_minus_m_next, d_q_sum, d_q_choice) * torch.sign(q_n_next)
        d_q = d_q_product[..., None] * n_next + torch.einsum("bnv,bnkv->bnk", d_h_over_d_q_wide, C_next)
        d_n_plus_q_d_q_product = d_n + q * d_q_product[..., None]
        d_C_plus_q_d_h_over_d_q_wide = d_C + q[..., None] * d_h_over_d_q_wide[..., None, :]
        d_k_product = exp_i_minus_m_next[..., None, None] * d_C_plus_q_d_h_over_d_q_wide
        d_k = (
            exp_i_minus_m_next[..., None] * d_n_plus_q_d_q_product
            + torch.einsum("bnkv,bnv->bnk", d_k_product, v)
        )
        d_v = torch.einsum("bnk,bnkv->bnv", k, d_k_product)  # [B, N, V]
        d_i_sum = (d_n_plus_q_d_q_product * k).sum(-1) + (d_C_plus_q_d_h_over_d_q_wide * k_v).sum((-2, -1))
        d_i_sum_exp_i_minus_m_next = d_i_sum * exp_i_minus_m_next
        d_i_product = torch.where(exp_minus_m_next > abs_q_n_next, d_q_sum, d_q_choice) * exp_minus_m_next
        d_i_sum_2 = (d_n_plus_q_d_q_product * n).sum(-1) + (d_C_plus_q_d_h_over_d_q_wide * C).sum((-2, -1))
        d_i_product_2 = d_i_sum_2 * exp_lf_plus_m_minus_m_next
        d_i_difference = d_m - d_i_product - d_i_sum_exp_i_minus_m_next - d_i_product_2
        d_i_choice = torch.where(lf_plus_m == i, d_i_difference * 0.5, 0.0)
        d_i = d_i_sum_exp_i_minus_m_next + torch.where(i > lf_plus_m, d_i_difference, d_i_choice)
        d_m_next = d_i_product_2 + torch.where(lf_plus_m > i, d_i_difference, d_i_choice)
        d_f = d_m_next * torch.sigmoid(-f)
        d_C_next = exp_lf_plus_m_minus_m_next[..., None, None] * d_C_plus_q_d_h_over_d_q_wide
        d_n_next = exp_lf_plus_m_minus_m_next[..., None] * d_n_plus_q_d_q_product
        all_d_q.append(d_q)
        all_d_k.append(d_k)
        all_d_v.append(d_v)
        all_d_i.append(d_i)
        all_d_f.append(d_f)
        d_C, d_n, d_m = d_C_next, d_n_next, d_m_next
    return (
        over_time(all_d_q, (N, K), torch.float32, d_C, reverse=True),
        over_time(all_d_k, (N, K), torch.float32, d_C, reverse=True),
        over_time(all_d_v, (N, V), torch.float32, d_C, reverse=True),
        over_time(all_d_i, (N,), torch.float32, d_C, reverse=True),
        over_time(all_d_f, (N,), torch.float32, d_C, reverse=True),
        d_C,
        d_n,
        d_m,
    )


def C_n_m_adjoint(q, k, v, i, f, C, n, m, d_h, d_C_last, d_n_last, d_m_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    d_q, d_k, d_v, d_i, d_f, d_C_last_2, d_n_last_2, d_m_last_2 = d_Cnm_loop(
        q, k, v, i, f, C, n, m, d_h, d_C_last, d_n_last, d_m_last
    )

    return d_q, d_k, d_v, d_i, d_f, d_C_last_2, d_n_last_2, d_m_last_2


@Operator
def C_n_m_pieces(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """The derivative of the loop, from the states that it kept at the start of each piece."""

    def run(reads, statics, starts, length):
        return C_n_m_operator([*reads, *statics, *starts], length, 1)[4:]

    def adjoint(reads, statics, arriving, seeds, lasts):
        found = C_n_m_adjoint(*reads, *statics, arriving[0], arriving[1], arriving[2], *seeds, *lasts)
        return found[:5], found[5:5], found[5:]

    found = in_pieces(run, adjoint, tensors, (5, 0, 3, 1, 3), length, every, False)
    return separate(found, tensors)


@C_n_m_pieces.register_fake
def _(tensors, length, every):
    return [
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            tensors[4],
            *tensors[-3:],
        )
    ]


C_n_m_pieces.register_vmap(
    folded(C_n_m_pieces, (False, False, False, False, False, False, False, False, False, False, False, False))
)


class CNMDerivative(torch.autograd.Function):
    """`C_n_m_pieces`, whose own derivative goes through `C_n_m_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        length, every, q, k, v, i, f, C, n, m, C_saved, n_saved, m_saved, d_h, d_C_last, d_n_last, d_m_last
    ):
        if not every:
            every = piece_size(length)
            *_, C_saved, n_saved, m_saved = C_n_m_operator([q, k, v, i, f, C, n, m], length, every)
        return tuple(
            C_n_m_pieces(
                [q, k, v, i, f, C_saved, n_saved, m_saved, d_h, d_C_last, d_n_last, d_m_last], length, every
            )
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:8], *tensors[11:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(C_n_m_plain, tensors[:8], tensors[8:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:8], None, None, None, *found[8:]


class CNMLoop(torch.autograd.Function):
    """`C_n_m_operator`, whose derivative is `CNMDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, q, k, v, i, f, C, n, m):
        return tuple(C_n_m_operator([q, k, v, i, f, C, n, m], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[4:])
        ctx.mark_non_differentiable(*output[4:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        C, n, m = tensors[5:8]
        batch, length = C.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], C, (batch, length, N, V), torch.float32),
            filled(cotangents[1], C, C.shape, C.dtype),
            filled(cotangents[2], C, n.shape, n.dtype),
            filled(cotangents[3], C, m.shape, m.dtype),
        ]
        return None, None, *CNMDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "C": torch.zeros((batch, N, K, V), dtype=torch.float32, device=device),
        "n": torch.zeros((batch, N, K), dtype=torch.float32, device=device),
        "m": torch.full((batch, N), -math.inf, dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["q"].shape[:2]
    device = inputs["q"].device
    q = taken(inputs, "q", (batch, length, N, K), torch.float32)
    k = taken(inputs, "k", (batch, length, N, K), torch.float32)
    v = taken(inputs, "v", (batch, length, N, V), torch.float32)
    i = taken(inputs, "i", (batch, length, N), torch.float32)
    f = taken(inputs, "f", (batch, length, N), torch.float32)
    state = starting(params, state, batch, device)

    h, C_last, n_last, m_last = C_n_m_loop(q, k, v, i, f, state["C"], state["n"], state["m"])

    return {"h": h}, {"C": C_last, "n": n_last, "m": m_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Mlstm(torch.nn.Module):
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
    "C, n, m": "one C loop over time for each sequence",
}
KERNELS = ()
