"""lstm: Long short-term memory with forget gate (Gers et al., 2000), with the parameters of torch.nn.LSTM.

Arrays, by name:
    inputs   x [B, T, D]
    params   W_ih [4*H, D]; W_hh [4*H, H]; b_ih, b_hh [4*H]
    state    h, c [B, H]
    outputs  h [B, T, H]

Schedule of h, c: one C loop over time for the sequences of a thread together.
Backward pass of h, c: one C loop over time for the sequences of a thread together, from h, c kept at every
    position.

Made from std/lstm by
    lsrl compile std/lstm --target cpu
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

D, H = 32, 64

LEAST_PRODUCT = 2**20  # multiplications; fewer are done before an operator is called


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


def uniform(shape, low, high, generator):
    """Uniform between two numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


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
OPERATORS = own_namespace("lsrl_bceeb05b4849")


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


@Operator
def sequence_matrix_product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x [rows, inner] @ matrix [inner, outer]; either may lie in memory in any way."""
    found = x.new_empty(x.shape[0], matrix.shape[1])
    numbers = [*x.shape, matrix.shape[1], *x.stride(), *matrix.stride(), torch.get_num_threads()]
    run_native(library(C_FUNCTIONS + MATRIX_PRODUCT).matrix_product, [x, matrix, found], numbers)
    return found


@sequence_matrix_product.register_fake
def _(x, matrix):
    return x.new_empty(x.shape[0], matrix.shape[1])


@sequence_matrix_product.register_vmap
def _(info, in_dims, x, matrix):
    size, pairs = info.batch_size, zip((x, matrix), in_dims)
    given = [tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0) for tensor, dim in pairs]
    return torch.stack([sequence_matrix_product(own, other) for own, other in zip(*given)]), 0


class MatrixProduct(torch.autograd.Function):
    """`sequence_matrix_product`, whose derivatives are such products."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, matrix):
        return sequence_matrix_product(x, matrix)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        x, matrix = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        by_x = MatrixProduct.apply(cotangent, matrix.mT) if wanted[0] else None
        return by_x, position_sum(x, cotangent) if wanted[1] else None


def sequence_product(x, matrix):
    """x [..., inner] @ matrix [inner, outer]."""
    if not is_large_product(x, matrix.shape[-1]):
        return x @ matrix
    return MatrixProduct.apply(x.reshape(-1, x.shape[-1]), matrix).reshape(*x.shape[:-1], matrix.shape[-1])


def position_sum(x, y):
    """Sums over all positions of x [..., i] and y [..., j]: [i, j]."""
    rows, others = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    if not is_large_product(x, y.shape[-1]):
        return rows.mT @ others
    if x.shape[-1] > y.shape[-1]:  # the left factor is turned on the way
        return MatrixProduct.apply(others.mT, rows).mT
    return MatrixProduct.apply(rows.mT, others)


def is_large_product(x, others):
    """Whether a product of all numbers of x with so many others is computed in C.

    Compilers of graphs bring products of their own.
    """
    if torch.compiler.is_compiling() or x.numel() * others < LEAST_PRODUCT:
        return False
    return runs_native(x)


C_FUNCTIONS = r"""
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef float real;

typedef float data;

// A function that stands where it is called: loops vectorise, and constant arguments make copies of their own.
#define INLINE static inline __attribute__((always_inline))

// A number of a matrix in memory.
INLINE real load_data(data value) { return value; }

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

// Where tanh(x) is 1; where erfc(x / sqrt 2) is 0; what `tail_series` is centred at; the upper half of a fraction.
#define TANH_MOST 10.0f
#define TAIL_MOST 15.0f
#define TAIL_CENTRE 4
#define UPPER_HALF 0xfffff000u

// (e^z - 1 - z) / z^2 for |z| <= ln 2 / 2, to 2^-28.
INLINE real exp_series(real z) {
    real sum = 0.00138131409f;
    sum = sum * z + 0.00836941894f;
    sum = sum * z + 0.0416684569f;
    sum = sum * z + 0.166665148f;
    return sum * z + 0.499999931f;
}

// x without its sign.
INLINE real abs_(real x) { return libm(fabs)(x); }

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

// e^x - 1, without loss of digits near 0; within 2 ulp.
INLINE real expm1_(real x) {
    word n;
    real r = exp_reduced(x < EXPM1_LEAST ? EXPM1_LEAST : x, &n);
    real less = r + r * r * exp_series(r), half = two_to(n - 1);
    real value = 2 * (half * less + (half - (real)0.5));
    return abs_(x) < LEAST_NORMAL ? x : value;
}

// The hyperbolic tangent; within 2 ulp.
INLINE real tanh_(real x) {
    real size = abs_(x), grown = expm1_(2 * (size > TANH_MOST ? TANH_MOST : size));
    return libm(copysign)(grown / (grown + 2), x);
}

// 1 / (1 + e^-x), without overflow on either side; within 2 ulp.
INLINE real sigmoid_(real x) {
    real small = exp_(-abs_(x));
    return (x >= 0 ? 1 : small) / (1 + small);
}

// As wide as the machine's vectors; where there are 32 registers of them, a tile has twice the rows.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define TILE_ROWS 4
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define TILE_ROWS 8
#else
#define VECTOR_BYTES 16
#define TILE_ROWS 4
#endif

// How many numbers a vector holds.
#define LANES ((long)(VECTOR_BYTES / sizeof(real)))

// The columns of a matrix that lie side by side when it is packed.
#define PANEL (3 * LANES)

// Numbers that are computed with at once, anywhere in memory.
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

// How many numbers `pack` writes: the columns are filled up to whole vectors.
static long packed_size(long inner, long outer) { return inner * ((outer + LANES - 1) / LANES) * LANES; }

// matrix[i * inner_stride + o * outer_stride] in panels of three vectors of columns, the last in panels of one:
// packed[panel][i][column], with zeros behind the last column.
static void pack(real *packed, const data *matrix, long inner, long outer, long inner_stride, long outer_stride) {
    for (long first = 0, width; first < outer; first += width) {
        width = outer - first > 2 * LANES ? PANEL : LANES;
        long there = outer - first < width ? outer - first : width;
        const data *from = matrix + first * outer_stride;
        for (long i = 0; i < inner; i++, packed += width, from += inner_stride) {
            for (long column = 0; column < there; column++) packed[column] = load_data(from[column * outer_stride]);
            for (long column = there; column < width; column++) packed[column] = 0;
        }
    }
}

// At most `most` rows times a panel of `vectors`; the sums stay in registers.  Where there are fewer rows the last one
// is computed again, and not stored.
INLINE void product_tile(real *out, long out_stride, const real *x, long x_stride, const real *panel, long rows,
                         long inner, long columns, int added, const int most, const int vectors) {
    const real *row[TILE_ROWS];
    vector sum[TILE_ROWS][3], factor[3];
#pragma GCC unroll 8
    for (int r = 0; r < most; r++) {
        row[r] = x + (r < rows ? r : rows - 1) * x_stride;
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) sum[r][v] = (vector){0};
    }
    for (long i = 0; i < inner; i++, panel += vectors * LANES) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) factor[v] = *(const vector *)(panel + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < most; r++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) sum[r][v] += row[r][i] * factor[v];
    }
    for (int r = 0; r < most && r < rows; r++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            real *to = out + r * out_stride + v * LANES;
            long left = columns - v * LANES;
            if (left >= LANES && added) *(vector *)to += sum[r][v];
            else if (left >= LANES) *(vector *)to = sum[r][v];
            else for (long lane = 0; lane < left; lane++) to[lane] = (added ? to[lane] : 0) + sum[r][v][lane];
        }
}

// All rows times a panel, by tiles of 8 rows where there are registers for them, then of 4, then of one.
INLINE void product_panel(real *out, long out_stride, const real *x, long x_stride, const real *panel, long rows,
                          long inner, long columns, int added, const int vectors) {
    for (; TILE_ROWS == 8 && rows > 4; rows -= 8, x += 8 * x_stride, out += 8 * out_stride)
        product_tile(out, out_stride, x, x_stride, panel, rows, inner, columns, added, TILE_ROWS, vectors);
    for (; rows > 1; rows -= 4, x += 4 * x_stride, out += 4 * out_stride)
        product_tile(out, out_stride, x, x_stride, panel, rows, inner, columns, added, 4, vectors);
    if (rows == 1) product_tile(out, out_stride, x, x_stride, panel, rows, inner, columns, added, 1, vectors);
}

// How much of a long sum is taken at once, so that a tile's rows and its part of a panel stay in the caches.
#define DEPTH 512L

// Both of the products below, panel by panel.
static void product_by_panels(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows,
                              long inner, long outer, int added) {
    for (long first = 0, width; first < outer; first += width, packed += inner * width) {
        long left = outer - first;
        width = left > 2 * LANES ? PANEL : LANES;
        for (long begin = 0; begin < inner || begin == 0; begin += DEPTH) {
            const real *from = x + begin, *panel = packed + begin * width;
            long depth = inner - begin < DEPTH ? inner - begin : DEPTH;
            int more = added || begin;
            if (width > LANES)
                product_panel(out + first, out_stride, from, x_stride, panel, rows, depth, left, more, 3);
            else
                product_panel(out + first, out_stride, from, x_stride, panel, rows, depth, left, more, 1);
        }
    }
}

// out[r][o] = sum_i x[r][i] * matrix[i][o], for a matrix that `pack` packed; row r is at out + r * out_stride.
static void product(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows, long inner,
                    long outer) {
    product_by_panels(out, out_stride, x, x_stride, packed, rows, inner, outer, 0);
}

// out[r][o] += sum_i x[r][i] * matrix[i][o].
static void product_added(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows,
                          long inner, long outer) {
    product_by_panels(out, out_stride, x, x_stride, packed, rows, inner, outer, 1);
}
"""


MATRIX_PRODUCT = r"""
// out = x @ matrix, [rows, outer]; either may be transposed, by its strides.  Threads share rows; long sums are taken
// in parts, for each of which the matrix is packed once.
void matrix_product(const real *x, const real *matrix, real *out, long rows, long inner, long outer, long x_row,
                    long x_inner, long matrix_inner, long matrix_outer, long threads) {
    const long block = 64, depth = inner < 1 ? 1 : inner < DEPTH ? inner : DEPTH, columns = 12 * LANES;
    write_in_large_pages(out, rows * outer * (long)sizeof(real));
    real *packed = new_array(packed_size(depth, outer) * (long)sizeof(real));
    #pragma omp parallel num_threads(threads)
    {
        real *turned = new_array(block * depth * (long)sizeof(real));
        for (long first = 0; first < inner || !first; first += depth) {
            const long part = inner - first < depth ? inner - first : depth;
            #pragma omp for schedule(static)
            for (long o = 0; o < outer; o += columns) {
                const long many = outer - o < columns ? outer - o : columns;
                const real *source = matrix + first * matrix_inner + o * matrix_outer;
                pack(packed + o * part, source, part, many, matrix_inner, matrix_outer);
            }
            #pragma omp for schedule(dynamic)
            for (long row = 0; row < rows; row += block) {
                const long many = rows - row < block ? rows - row : block;
                const real *source = x + row * x_row + first * x_inner;
                for (long some = 0; x_inner != 1 && some < part; some += LANES)
                    for (long r = 0; r < many; r++)
                        for (long i = some; i < part && i < some + LANES; i++)
                            turned[r * part + i] = source[r * x_row + i * x_inner];
                const real *given = x_inner == 1 ? source : turned;
                const long stride = x_inner == 1 ? x_row : part;
                if (first)
                    product_added(out + row * outer, outer, given, stride, packed, many, part, outer);
                else
                    product(out + row * outer, outer, given, stride, packed, many, part, outer);
            }
        }
        free(turned);
    }
    free(packed);
}
"""


h_c_kernel_code = r"""
void h_c_kernel(
    const real *W_ih_x,  // [B, T, 4*H]
    const real *W_hh,  // [4*H, H], the same at all positions
    const real *b_ih,  // [4*H], the same at all positions
    const real *b_hh,  // [4*H], the same at all positions
    const real *h_0,  // [B, H], at the start
    const real *c_0,  // [B, H], at the start
    real *h_next,  // [B, T, H], written
    real *h_T,  // [B, H], at the end, written
    real *c_T,  // [B, H], at the end, written
    real *h_saved,  // [B, P, H], now and then, written
    real *c_saved,  // [B, P, H], now and then, written
    long B, long T, long EVERY, long H, long threads
) {
    const long saves = EVERY ? (T + EVERY - 1) / EVERY : 0;
    write_in_large_pages(h_next, B * T * (H) * (long)sizeof(real));
    write_in_large_pages(h_saved, B * saves * (H) * (long)sizeof(real));
    write_in_large_pages(c_saved, B * saves * (H) * (long)sizeof(real));
    if (B * T * (4 * (H * H) + 2 * H) < 32768) threads = 1;  // more would wait for it
    const long tile = (B + threads - 1) / threads < 32 ? (B + threads - 1) / threads : 32;  // sequences at once
    const long groups = tile ? (B + tile - 1) / tile : 0;
    real *W_hh_o_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_o_packed, W_hh + 3 * (H * H), H, H, 1, H);
    real *W_hh_f_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_f_packed, W_hh + (H * H), H, H, 1, H);
    real *W_hh_i_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_i_packed, W_hh, H, H, 1, H);
    real *W_hh_g_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_g_packed, W_hh + 2 * (H * H), H, H, 1, H);
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (long first_b = 0; first_b < groups; first_b++) {
        const long n_b = B - first_b * tile < tile ? B - first_b * tile : tile;
        real *h_now_rows = new_array(n_b * (H) * sizeof(real));
        real *c_now_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_o_h_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_f_h_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_i_h_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_g_h_all_rows = new_array(n_b * (H) * sizeof(real));
        for (long i_b = 0; i_b < n_b; i_b++) {
            real *const h_now_row = h_now_rows + i_b * H;
            real *const c_now_row = c_now_rows + i_b * H;
            const real *const h_0_row = h_0 + (first_b * tile + i_b) * H;
            const real *const c_0_row = c_0 + (first_b * tile + i_b) * H;
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                h_now_row[i_h] = h_0_row[i_h];
            }
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                c_now_row[i_h] = c_0_row[i_h];
            }
        }
        for (long step = 0; step < T; step++) {
            const long i_t = step;
            if (EVERY && step % EVERY == 0) {
                const long slot = step / EVERY;
                for (long i_b = 0; i_b < n_b; i_b++) {
                    real *const h_now_row = h_now_rows + i_b * H;
                    real *const c_now_row = c_now_rows + i_b * H;
                    real *const h_saved_row = h_saved + ((first_b * tile + i_b) * saves + slot) * H;
                    real *const c_saved_row = c_saved + ((first_b * tile + i_b) * saves + slot) * H;
                    #pragma omp simd
                    for (long i_h = 0; i_h < H; i_h++) {
                        h_saved_row[i_h] = h_now_row[i_h];
                    }
                    #pragma omp simd
                    for (long i_h = 0; i_h < H; i_h++) {
                        c_saved_row[i_h] = c_now_row[i_h];
                    }
                }
            }
            product(W_hh_o_h_all_rows, H, h_now_rows, H, W_hh_o_packed, n_b, H, H);
            product(W_hh_f_h_all_rows, H, h_now_rows, H, W_hh_f_packed, n_b, H, H);
            product(W_hh_i_h_all_rows, H, h_now_rows, H, W_hh_i_packed, n_b, H, H);
            product(W_hh_g_h_all_rows, H, h_now_rows, H, W_hh_g_packed, n_b, H, H);
            for (long i_b = 0; i_b < n_b; i_b++) {
                real *const h_now_row = h_now_rows + i_b * H;
                real *const c_now_row = c_now_rows + i_b * H;
                real *const W_hh_o_h_all_row = W_hh_o_h_all_rows + i_b * H;
                real *const W_hh_f_h_all_row = W_hh_f_h_all_rows + i_b * H;
                real *const W_hh_i_h_all_row = W_hh_i_h_all_rows + i_b * H;
                real *const W_hh_g_h_all_row = W_hh_g_h_all_rows + i_b * H;
                const real *const W_ih_x_row = W_ih_x + ((first_b * tile + i_b) * T + i_t) * (4 * H);
                real *const h_next_row = h_next + ((first_b * tile + i_b) * T + i_t) * H;
                #pragma omp simd
                for (long i_h = 0; i_h < H; i_h++) {
                    const real c = c_now_row[i_h];
                    // std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
                    const real o = W_ih_x_row[3 * H + i_h] + b_ih[3 * H + i_h] + W_hh_o_h_all_row[i_h]
                            + b_hh[3 * H + i_h];
                    const real f = W_ih_x_row[H + i_h] + b_ih[H + i_h] + W_hh_f_h_all_row[i_h] + b_hh[H
                            + i_h];
                    const real i = W_ih_x_row[i_h] + b_ih[i_h] + W_hh_i_h_all_row[i_h] + b_hh[i_h];
                    const real g = W_ih_x_row[2 * H + i_h] + b_ih[2 * H + i_h] + W_hh_g_h_all_row[i_h]
                            + b_hh[2 * H + i_h];
                    // std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
                    const real c_next = sigmoid_(f) * c + sigmoid_(i) * tanh_(g);
                    // std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
                    const real h_next = sigmoid_(o) * tanh_(c_next);
                    c_now_row[i_h] = c_next;
                    h_now_row[i_h] = h_next;
                    h_next_row[i_h] = h_next;
                }
            }
        }
        for (long i_b = 0; i_b < n_b; i_b++) {
            real *const h_now_row = h_now_rows + i_b * H;
            real *const c_now_row = c_now_rows + i_b * H;
            real *const h_T_row = h_T + (first_b * tile + i_b) * H;
            real *const c_T_row = c_T + (first_b * tile + i_b) * H;
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                h_T_row[i_h] = h_now_row[i_h];
            }
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                c_T_row[i_h] = c_now_row[i_h];
            }
        }
        free(h_now_rows);
        free(c_now_rows);
        free(W_hh_o_h_all_rows);
        free(W_hh_f_h_all_rows);
        free(W_hh_i_h_all_rows);
        free(W_hh_g_h_all_rows);
    }
    free(W_hh_o_packed);
    free(W_hh_f_packed);
    free(W_hh_i_packed);
    free(W_hh_g_packed);
}
"""


def h_c_launch(W_ih_x, W_hh, b_ih, b_hh, h, c, every=0):
    """Run `h_c_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = W_ih_x.shape[:2]
    h_next = h.new_empty((batch, length, H), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    c_T = torch.empty_like(c, memory_format=torch.contiguous_format)
    h_saved = h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    c_saved = h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    kernel = library(C_FUNCTIONS + h_c_kernel_code).h_c_kernel
    run_native(
        kernel,
        [
            W_ih_x.contiguous(),
            W_hh.contiguous(),
            b_ih.contiguous(),
            b_hh.contiguous(),
            h.contiguous(),
            c.contiguous(),
            h_next,
            h_T,
            c_T,
            h_saved,
            c_saved,
        ],
        [batch, length, every, H, torch.get_num_threads()],
    )
    return h_next, h_T, c_T, h_saved, c_saved


@Operator
def h_c_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_native(tensors[0]):
        return list(h_c_launch(*tensors, every))
    return separate(h_c_plain(*tensors, every), tensors)


@h_c_operator.register_fake
def _(tensors, length, every):
    h, c = tensors[-2:]
    batch = h.shape[0]
    return [
        h.new_empty((batch, length, H), dtype=torch.float32),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        torch.empty_like(c, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), H), dtype=torch.float32),
        h.new_empty((batch, saves(length, every), H), dtype=torch.float32),
    ]


h_c_operator.register_vmap(folded(h_c_operator, (True, False, False, False, True, True)))


def h_c_loop(W_ih_x, W_hh, b_ih, b_hh, h, c):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(W_ih_x, W_hh, b_ih, b_hh, h, c) else 0
    return HCLoop.apply(W_ih_x.shape[1], every, W_ih_x, W_hh, b_ih, b_hh, h, c)[:3]


def h_c_plain(W_ih_x, W_hh, b_ih, b_hh, h, c, every=0):
    """h, c over time in plain PyTorch: h_next of every position, then the last states, then the arriving
    states of positions `every` apart.
    """
    all_h_next = []
    h_saved = []
    c_saved = []
    for at, (W_ih_x,) in enumerate(positions(W_ih_x)):
        if every and at % every == 0:
            h_saved.append(h)
            c_saved.append(c)
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        i, f, g, o = (W_ih_x + b_ih + h @ W_hh.mT + b_hh).split(H, -1)  # [B, H]
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        c_next = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        h_next = torch.sigmoid(o) * torch.tanh(c_next)
        all_h_next.append(h_next)
        h, c = h_next, c_next
    return (
        over_time(all_h_next, (H,), torch.float32, h),
        h,
        c,
        over_time(h_saved, (H,), torch.float32, h),
        over_time(c_saved, (H,), torch.float32, h),
    )


d_hc_kernel_code = r"""
void d_hc_kernel(
    const real *W_ih_x,  // [B, T, 4*H]
    const real *c,  // [B, T, H]
    const real *d_h_next,  // [B, T, H]
    const real *W_hh_h,  // [B, T, 4*H]
    const real *W_hh,  // [4*H, H], the same at all positions
    const real *b_ih,  // [4*H], the same at all positions
    const real *b_hh,  // [4*H], the same at all positions
    const real *d_h_0,  // [B, H], at the start
    const real *d_c_0,  // [B, H], at the start
    real *d_W_ih_x,  // [B, T, 4*H], written
    real *d_h_T,  // [B, H], at the end, written
    real *d_c_T,  // [B, H], at the end, written
    long B, long T, long H, long threads
) {
    write_in_large_pages(d_W_ih_x, B * T * (4 * H) * (long)sizeof(real));
    if (B * T * (4 * (H * H) + 2 * H) < 32768) threads = 1;  // more would wait for it
    const long tile = (B + threads - 1) / threads < 32 ? (B + threads - 1) / threads : 32;  // sequences at once
    const long groups = tile ? (B + tile - 1) / tile : 0;
    real *W_hh_d_h_next_10_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_d_h_next_10_packed, W_hh, H, H, H, 1);
    real *W_hh_d_h_next_2_10_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_d_h_next_2_10_packed, W_hh + (H * H), H, H, H, 1);
    real *W_hh_d_h_next_3_10_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_d_h_next_3_10_packed, W_hh + 2 * (H * H), H, H, H, 1);
    real *W_hh_d_h_next_4_10_packed = new_array(packed_size(H, H) * sizeof(real));
    pack(W_hh_d_h_next_4_10_packed, W_hh + 3 * (H * H), H, H, H, 1);
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (long first_b = 0; first_b < groups; first_b++) {
        const long n_b = B - first_b * tile < tile ? B - first_b * tile : tile;
        real *d_h_now_rows = new_array(n_b * (H) * sizeof(real));
        real *d_c_now_rows = new_array(n_b * (H) * sizeof(real));
        real *d_W_ih_x_0_all_rows = new_array(n_b * (H) * sizeof(real));
        real *d_W_ih_x_1_all_rows = new_array(n_b * (H) * sizeof(real));
        real *d_W_ih_x_2_all_rows = new_array(n_b * (H) * sizeof(real));
        real *d_W_ih_x_3_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_d_h_next_d_W_ih_x_0_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_d_h_next_2_d_W_ih_x_1_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_d_h_next_3_d_W_ih_x_2_all_rows = new_array(n_b * (H) * sizeof(real));
        real *W_hh_d_h_next_4_d_W_ih_x_3_all_rows = new_array(n_b * (H) * sizeof(real));
        for (long i_b = 0; i_b < n_b; i_b++) {
            real *const d_h_now_row = d_h_now_rows + i_b * H;
            real *const d_c_now_row = d_c_now_rows + i_b * H;
            const real *const d_h_0_row = d_h_0 + (first_b * tile + i_b) * H;
            const real *const d_c_0_row = d_c_0 + (first_b * tile + i_b) * H;
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                d_h_now_row[i_h] = d_h_0_row[i_h];
            }
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                d_c_now_row[i_h] = d_c_0_row[i_h];
            }
        }
        for (long step = 0; step < T; step++) {
            const long i_t = T - 1 - step;
            for (long i_b = 0; i_b < n_b; i_b++) {
                real *const d_h_now_row = d_h_now_rows + i_b * H;
                real *const d_c_now_row = d_c_now_rows + i_b * H;
                real *const d_W_ih_x_0_all_row = d_W_ih_x_0_all_rows + i_b * H;
                real *const d_W_ih_x_1_all_row = d_W_ih_x_1_all_rows + i_b * H;
                real *const d_W_ih_x_2_all_row = d_W_ih_x_2_all_rows + i_b * H;
                real *const d_W_ih_x_3_all_row = d_W_ih_x_3_all_rows + i_b * H;
                const real *const W_ih_x_row = W_ih_x + ((first_b * tile + i_b) * T + i_t) * (4 * H);
                const real *const c_row = c + ((first_b * tile + i_b) * T + i_t) * H;
                const real *const d_h_next_row = d_h_next + ((first_b * tile + i_b) * T + i_t) * H;
                const real *const W_hh_h_row = W_hh_h + ((first_b * tile + i_b) * T + i_t) * (4 * H);
                real *const d_W_ih_x_row = d_W_ih_x + ((first_b * tile + i_b) * T + i_t) * (4 * H);
                #pragma omp simd
                for (long i_h = 0; i_h < H; i_h++) {
                    const real d_c = d_c_now_row[i_h];
                    // std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
                    const real o = W_ih_x_row[3 * H + i_h] + b_ih[3 * H + i_h] + W_hh_h_row[3 * H + i_h]
                            + b_hh[3 * H + i_h];
                    const real f = W_ih_x_row[H + i_h] + b_ih[H + i_h] + W_hh_h_row[H + i_h] + b_hh[H + i_h];
                    const real i = W_ih_x_row[i_h] + b_ih[i_h] + W_hh_h_row[i_h] + b_hh[i_h];
                    const real g = W_ih_x_row[2 * H + i_h] + b_ih[2 * H + i_h] + W_hh_h_row[2 * H + i_h]
                            + b_hh[2 * H + i_h];
                    // std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
                    const real sigmoid_f = sigmoid_(f);
                    const real sigmoid_i = sigmoid_(i);
                    const real tanh_g = tanh_(g);
                    const real c_next = sigmoid_f * c_row[i_h] + sigmoid_i * tanh_g;
                    // std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
                    const real sigmoid_o = sigmoid_(o);
                    const real d_h_plus_d_h_next = d_h_now_row[i_h] + d_h_next_row[i_h];
                    const real tanh_c_next = tanh_(c_next);
                    const real d_W_ih_x_0_sum = d_c + sigmoid_o * d_h_plus_d_h_next * (1 - tanh_c_next
                            * tanh_c_next);
                    const real d_W_ih_x_0 = d_W_ih_x_0_sum * tanh_g * (sigmoid_i * (1 - sigmoid_i));
                    const real d_W_ih_x_1 = d_W_ih_x_0_sum * c_row[i_h] * (sigmoid_f * (1 - sigmoid_f));
                    const real d_W_ih_x_2 = sigmoid_i * d_W_ih_x_0_sum * (1 - tanh_g * tanh_g);
                    const real d_W_ih_x_3 = d_h_plus_d_h_next * tanh_c_next * (sigmoid_o * (1 - sigmoid_o));
                    const real d_c_next = sigmoid_f * d_W_ih_x_0_sum;
                    d_W_ih_x_0_all_row[i_h] = d_W_ih_x_0;
                    d_W_ih_x_row[i_h] = d_W_ih_x_0;
                    d_W_ih_x_1_all_row[i_h] = d_W_ih_x_1;
                    d_W_ih_x_row[H + i_h] = d_W_ih_x_1;
                    d_W_ih_x_2_all_row[i_h] = d_W_ih_x_2;
                    d_W_ih_x_row[2 * H + i_h] = d_W_ih_x_2;
                    d_W_ih_x_3_all_row[i_h] = d_W_ih_x_3;
                    d_W_ih_x_row[3 * H + i_h] = d_W_ih_x_3;
                    d_c_now_row[i_h] = d_c_next;
                }
            }
            product(W_hh_d_h_next_d_W_ih_x_0_all_rows, H, d_W_ih_x_0_all_rows, H, W_hh_d_h_next_10_packed,
                    n_b, H, H);
            product(W_hh_d_h_next_2_d_W_ih_x_1_all_rows, H, d_W_ih_x_1_all_rows, H,
                    W_hh_d_h_next_2_10_packed, n_b, H, H);
            product(W_hh_d_h_next_3_d_W_ih_x_2_all_rows, H, d_W_ih_x_2_all_rows, H,
                    W_hh_d_h_next_3_10_packed, n_b, H, H);
            product(W_hh_d_h_next_4_d_W_ih_x_3_all_rows, H, d_W_ih_x_3_all_rows, H,
                    W_hh_d_h_next_4_10_packed, n_b, H, H);
            for (long i_b = 0; i_b < n_b; i_b++) {
                real *const d_h_now_row = d_h_now_rows + i_b * H;
                real *const W_hh_d_h_next_d_W_ih_x_0_all_row = W_hh_d_h_next_d_W_ih_x_0_all_rows + i_b * H;
                real *const W_hh_d_h_next_2_d_W_ih_x_1_all_row = W_hh_d_h_next_2_d_W_ih_x_1_all_rows + i_b
                        * H;
                real *const W_hh_d_h_next_3_d_W_ih_x_2_all_row = W_hh_d_h_next_3_d_W_ih_x_2_all_rows + i_b
                        * H;
                real *const W_hh_d_h_next_4_d_W_ih_x_3_all_row = W_hh_d_h_next_4_d_W_ih_x_3_all_rows + i_b
                        * H;
                #pragma omp simd
                for (long i_h = 0; i_h < H; i_h++) {
                    const real d_h_next_2_sum = W_hh_d_h_next_d_W_ih_x_0_all_row[i_h]
                            + W_hh_d_h_next_2_d_W_ih_x_1_all_row[i_h];
                    const real d_h_next_2 = d_h_next_2_sum + W_hh_d_h_next_3_d_W_ih_x_2_all_row[i_h]
                            + W_hh_d_h_next_4_d_W_ih_x_3_all_row[i_h];
                    d_h_now_row[i_h] = d_h_next_2;
                }
            }
        }
        for (long i_b = 0; i_b < n_b; i_b++) {
            real *const d_h_now_row = d_h_now_rows + i_b * H;
            real *const d_c_now_row = d_c_now_rows + i_b * H;
            real *const d_h_T_row = d_h_T + (first_b * tile + i_b) * H;
            real *const d_c_T_row = d_c_T + (first_b * tile + i_b) * H;
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                d_h_T_row[i_h] = d_h_now_row[i_h];
            }
            #pragma omp simd
            for (long i_h = 0; i_h < H; i_h++) {
                d_c_T_row[i_h] = d_c_now_row[i_h];
            }
        }
        free(d_h_now_rows);
        free(d_c_now_rows);
        free(d_W_ih_x_0_all_rows);
        free(d_W_ih_x_1_all_rows);
        free(d_W_ih_x_2_all_rows);
        free(d_W_ih_x_3_all_rows);
        free(W_hh_d_h_next_d_W_ih_x_0_all_rows);
        free(W_hh_d_h_next_2_d_W_ih_x_1_all_rows);
        free(W_hh_d_h_next_3_d_W_ih_x_2_all_rows);
        free(W_hh_d_h_next_4_d_W_ih_x_3_all_rows);
    }
    free(W_hh_d_h_next_10_packed);
    free(W_hh_d_h_next_2_10_packed);
    free(W_hh_d_h_next_3_10_packed);
    free(W_hh_d_h_next_4_10_packed);
}
"""


def d_hc_launch(W_ih_x, c, d_h_next, W_hh_h, W_hh, b_ih, b_hh, d_h, d_c):
    """Run `d_hc_kernel`: what it keeps of every position, then the last states."""
    batch, length = W_ih_x.shape[:2]
    d_W_ih_x = d_h.new_empty((batch, length, 4 * H), dtype=torch.float32)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    d_c_T = torch.empty_like(d_c, memory_format=torch.contiguous_format)
    kernel = library(C_FUNCTIONS + d_hc_kernel_code).d_hc_kernel
    run_native(
        kernel,
        [
            W_ih_x.contiguous(),
            c.contiguous(),
            d_h_next.contiguous(),
            W_hh_h.contiguous(),
            W_hh.contiguous(),
            b_ih.contiguous(),
            b_hh.contiguous(),
            d_h.contiguous(),
            d_c.contiguous(),
            d_W_ih_x,
            d_h_T,
            d_c_T,
        ],
        [batch, length, H, torch.get_num_threads()],
    )
    return d_W_ih_x, d_h_T, d_c_T


@Operator
def d_hc_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_native(tensors[0]):
        return list(d_hc_launch(*tensors))
    return separate(d_hc_plain(*tensors), tensors)


@d_hc_operator.register_fake
def _(tensors, length, every):
    d_h, d_c = tensors[-2:]
    batch = d_h.shape[0]
    return [
        d_h.new_empty((batch, length, 4 * H), dtype=torch.float32),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
        torch.empty_like(d_c, memory_format=torch.contiguous_format),
    ]


d_hc_operator.register_vmap(folded(d_hc_operator, (True, True, True, True, False, False, False, True, True)))


def d_hc_loop(W_ih_x, c, d_h_next, W_hh_h, W_hh, b_ih, b_hh, d_h, d_c):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_hc_operator([W_ih_x, c, d_h_next, W_hh_h, W_hh, b_ih, b_hh, d_h, d_c], W_ih_x.shape[1], 0)


def d_hc_plain(W_ih_x, c, d_h_next, W_hh_h, W_hh, b_ih, b_hh, d_h, d_c):
    """d_h, d_c over time in plain PyTorch, from the end to the start: d_W_ih_x of every position, then the
    last states.
    """
    all_d_W_ih_x = []
    for W_ih_x, c, d_h_next, W_hh_h in positions(W_ih_x, c, d_h_next, W_hh_h, reverse=True):
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        i, f, g, o = (W_ih_x + b_ih + W_hh_h + b_hh).split(H, -1)  # [B, H]
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        sigmoid_f = torch.sigmoid(f)
        sigmoid_i = torch.sigmoid(i)
        tanh_g = torch.tanh(g)
        c_next = sigmoid_f * c + sigmoid_i * tanh_g
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        sigmoid_o = torch.sigmoid(o)
        d_h_plus_d_h_next = d_h + d_h_next
        tanh_c_next = torch.tanh(c_next)
        d_W_ih_x_sum = d_c + sigmoid_o * d_h_plus_d_h_next * (1.0 - tanh_c_next * tanh_c_next)
        d_W_ih_x = torch.cat(
            [
                d_W_ih_x_sum * tanh_g * (sigmoid_i * (1.0 - sigmoid_i)),
                d_W_ih_x_sum * c * (sigmoid_f * (1.0 - sigmoid_f)),
                sigmoid_i * d_W_ih_x_sum * (1.0 - tanh_g * tanh_g),
                d_h_plus_d_h_next * tanh_c_next * (sigmoid_o * (1.0 - sigmoid_o)),
            ],
            -1,
        )
        d_h_next_2 = d_W_ih_x @ W_hh  # [B, H]
        d_c_next = sigmoid_f * d_W_ih_x_sum
        all_d_W_ih_x.append(d_W_ih_x)
        d_h, d_c = d_h_next_2, d_c_next
    return over_time(all_d_W_ih_x, (4 * H,), torch.float32, d_h, reverse=True), d_h, d_c


def h_c_adjoint(W_ih_x, W_hh, b_ih, b_hh, h, c, d_h_next, d_h_last, d_c_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
    W_hh_h = sequence_product(h, W_hh.mT)  # [B, T, 4*H]

    d_W_ih_x, d_h_last_2, d_c_last_2 = d_hc_loop(
        W_ih_x, c, d_h_next, W_hh_h, W_hh, b_ih, b_hh, d_h_last, d_c_last
    )
    d_W_ih_x_sum = d_W_ih_x.sum((0, 1))
    d_W_ih_x_h_sum = position_sum(d_W_ih_x, h)

    return d_W_ih_x, d_W_ih_x_h_sum, d_W_ih_x_sum, d_W_ih_x_sum, d_h_last_2, d_c_last_2


class HCDerivative(torch.autograd.Function):
    """`h_c_adjoint`, whose own derivative goes through `h_c_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        length, every, W_ih_x, W_hh, b_ih, b_hh, h, c, h_saved, c_saved, d_h_next, d_h_last, d_c_last
    ):
        if not every:
            every = 1
            *_, h_saved, c_saved = h_c_operator([W_ih_x, W_hh, b_ih, b_hh, h, c], length, every)
        return h_c_adjoint(W_ih_x, W_hh, b_ih, b_hh, h_saved, c_saved, d_h_next, d_h_last, d_c_last)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:6], *tensors[8:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(h_c_plain, tensors[:6], tensors[6:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:6], None, None, *found[6:]


class HCLoop(torch.autograd.Function):
    """`h_c_operator`, whose derivative is `HCDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, W_ih_x, W_hh, b_ih, b_hh, h, c):
        return tuple(h_c_operator([W_ih_x, W_hh, b_ih, b_hh, h, c], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[3:])
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h, c = tensors[4:6]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, H), torch.float32),
            filled(cotangents[1], h, h.shape, h.dtype),
            filled(cotangents[2], h, c.shape, c.dtype),
        ]
        return None, None, *HCDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "W_ih": uniform((4 * H, D), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "W_hh": uniform((4 * H, H), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "b_ih": uniform((4 * H,), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "b_hh": uniform((4 * H,), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "h": torch.zeros((batch, H), dtype=torch.float32, device=device),
        "c": torch.zeros((batch, H), dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    W_ih = taken(params, "W_ih", (4 * H, D), torch.float32)
    W_hh = taken(params, "W_hh", (4 * H, H), torch.float32)
    b_ih = taken(params, "b_ih", (4 * H,), torch.float32)
    b_hh = taken(params, "b_hh", (4 * H,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
    W_ih_x = sequence_product(x, W_ih.mT)  # [B, T, 4*H]

    h_next, h_last, c_last = h_c_loop(W_ih_x, W_hh, b_ih, b_hh, state["h"], state["c"])

    return {"h": h_next}, {"h": h_last, "c": c_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Lstm(torch.nn.Module):
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
    "h, c": "one C loop over time for the sequences of a thread together",
}
KERNELS = ()
