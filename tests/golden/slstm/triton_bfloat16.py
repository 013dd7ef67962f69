"""slstm: Scalar LSTM of xLSTM (Beck et al., 2024, equations 8 to 18): exponential gates, recurrence within
each head.

Gate inputs come projected, as in the published cell; R holds the recurrent matrices of the four gates i, f,
z, o.

Arrays, by name:
    inputs   i, f, z, o [B, T, N, P]
    params   Ri, Rf, Rz, Ro [N, P, P]; bi, bf, bz, bo [N, P]
    state    h, c, n, m [B, N, P]
    outputs  h [B, T, N, P]

Inputs, params, outputs and products with params are bfloat16; states and loops compute in float32.

Schedule of h, c, n, m: one Triton kernel over time, cdiv(batch, 16) x N programs of 4 warps.
Backward pass of h, c, n, m: one Triton kernel over time, cdiv(batch, 16) x N programs of 4 warps, from h,
    c, n, m kept at every position.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/slstm by
    lsrl compile std/slstm --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import sys
import warnings

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

N, P = 4, 64

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


def widened(*tensors):
    """Tensors of 16 bits in the 32 that a loop computes in."""
    return [tensor.float() for tensor in tensors]


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
OPERATORS = own_namespace("lsrl_24f48c8d0364")


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


@triton.jit
def maximum(x, y):
    """The larger; NaN where one of them is."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(x, y):
    """The smaller; NaN where one of them is."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def tanh(x):
    """Hyperbolic tangent; its series near 0, where the quotient loses digits."""
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    s = x * x
    near = x * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
    return tl.where(s < 0.01, near, tl.where(x < 0, -far, far))


@triton.jit
def log1p(x):
    """log(1 + x); near 0 the series of 2 artanh(x / (2 + x)), where the sum loses digits."""
    s = x / (2 + x)
    q = s * s
    near = 2 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9)))))
    return tl.where(tl.abs(x) < 0.1, near, tl.log(1 + x))


@triton.jit
def logsigmoid(x):
    """-log(1 + exp(-x)) without overflow."""
    return minimum(x, 0.0) - log1p(tl.exp(-tl.abs(x)))


@triton.jit(do_not_specialize=["T", "B"])
def h_to_m_kernel(
    i,  # [B, T, N, P]
    f,  # [B, T, N, P]
    z,  # [B, T, N, P]
    o,  # [B, T, N, P]
    Ri,  # [N, P, P], the same at all positions
    Rf,  # [N, P, P], the same at all positions
    Rz,  # [N, P, P], the same at all positions
    Ro,  # [N, P, P], the same at all positions
    bi,  # [N, P], the same at all positions
    bf,  # [N, P], the same at all positions
    bz,  # [N, P], the same at all positions
    bo,  # [N, P], the same at all positions
    h_0,  # [B, N, P], at the start
    c_0,  # [B, N, P], at the start
    n_0,  # [B, N, P], at the start
    m_0,  # [B, N, P], at the start
    h_next,  # [B, T, N, P], written
    h_T,  # [B, N, P], at the end, written
    c_T,  # [B, N, P], at the end, written
    n_T,  # [B, N, P], at the end, written
    m_T,  # [B, N, P], at the end, written
    h_P,  # [B, P, N, P], now and then, written
    c_P,  # [B, P, N, P], now and then, written
    n_P,  # [B, P, N, P], now and then, written
    m_P,  # [B, P, N, P], now and then, written
    T,
    B,
    N: tl.constexpr,
    P: tl.constexpr,
    BB: tl.constexpr,
    BP: tl.constexpr,
    DOT: tl.constexpr,
    EVERY: tl.constexpr,
):
    o_b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)
    m_b = o_b < B
    i_n = tl.program_id(1)
    o_p = tl.arange(0, BP)
    m_b_p = m_b[:, None]

    b_Ri = tl.load(Ri + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_Rf = tl.load(Rf + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_Rz = tl.load(Rz + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_Ro = tl.load(Ro + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_bi = tl.load(bi + i_n * P + o_p).to(tl.float32)  # [BP]
    b_bf = tl.load(bf + i_n * P + o_p).to(tl.float32)  # [BP]
    b_bz = tl.load(bz + i_n * P + o_p).to(tl.float32)  # [BP]
    b_bo = tl.load(bo + i_n * P + o_p).to(tl.float32)  # [BP]
    b_h = tl.load(h_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_c = tl.load(c_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_n = tl.load(n_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_m = tl.load(m_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)

    if EVERY:
        P_2 = tl.cdiv(T, EVERY)
        p_h_saved = h_P + o_b[:, None] * P_2 * (N * P) + i_n * P + o_p[None, :]
        p_c_saved = c_P + o_b[:, None] * P_2 * (N * P) + i_n * P + o_p[None, :]
        p_n_saved = n_P + o_b[:, None] * P_2 * (N * P) + i_n * P + o_p[None, :]
        p_m_saved = m_P + o_b[:, None] * P_2 * (N * P) + i_n * P + o_p[None, :]
    p_i = i + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_f = f + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_z = z + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_o = o + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_h_next = h_next + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_h_saved, b_h, mask=m_b_p)
                p_h_saved += N * P
                tl.store(p_c_saved, b_c, mask=m_b_p)
                p_c_saved += N * P
                tl.store(p_n_saved, b_n, mask=m_b_p)
                p_n_saved += N * P
                tl.store(p_m_saved, b_m, mask=m_b_p)
                p_m_saved += N * P
        b_i = tl.load(p_i, mask=m_b_p, other=0.0).to(tl.float32)  # [BB, BP]
        b_f = tl.load(p_f, mask=m_b_p, other=0.0).to(tl.float32)  # [BB, BP]
        b_z = tl.load(p_z, mask=m_b_p, other=0.0).to(tl.float32)  # [BB, BP]
        b_o = tl.load(p_o, mask=m_b_p, other=0.0).to(tl.float32)  # [BB, BP]
        # std/slstm.lsrl:13  gi = i + Ri @ h + bi
        b_gi = b_i + tl.dot(b_h.to(DOT), tl.trans(b_Ri), input_precision="ieee") + b_bi[None, :]
        # std/slstm.lsrl:14  lf = logsigmoid(f + Rf @ h + bf) + m
        b_lf_sum = b_f + tl.dot(b_h.to(DOT), tl.trans(b_Rf), input_precision="ieee") + b_bf[None, :]
        b_lf = logsigmoid(b_lf_sum) + b_m
        # std/slstm.lsrl:15  m' = where(n == 0, gi, max(lf, gi))
        b_m_next = tl.where(b_n == 0, b_gi, maximum(b_lf, b_gi))
        # std/slstm.lsrl:16  gf = min(exp(lf - m'), 1)
        b_gf = minimum(tl.exp(b_lf - b_m_next), 1)
        # std/slstm.lsrl:17  c' = gf * c + min(exp(gi - m'), 1) * tanh(z + Rz @ h + bz)
        b_c_next_min = minimum(tl.exp(b_gi - b_m_next), 1)
        b_c_next_sum = b_z + tl.dot(b_h.to(DOT), tl.trans(b_Rz), input_precision="ieee") + b_bz[None, :]
        b_c_next = b_gf * b_c + b_c_next_min * tanh(b_c_next_sum)
        # std/slstm.lsrl:18  n' = gf * n + min(exp(gi - m'), 1)
        b_n_next = b_gf * b_n + b_c_next_min
        # std/slstm.lsrl:19  h' = sigmoid(o + Ro @ h + bo) * c' / n'
        b_h_next_sum = b_o + tl.dot(b_h.to(DOT), tl.trans(b_Ro), input_precision="ieee") + b_bo[None, :]
        b_h_next = tl.sigmoid(b_h_next_sum) * b_c_next / b_n_next
        tl.store(p_h_next, b_h_next, mask=m_b_p)
        b_h, b_c, b_n, b_m = b_h_next, b_c_next, b_n_next, b_m_next
        p_i += N * P
        p_f += N * P
        p_z += N * P
        p_o += N * P
        p_h_next += N * P
    tl.store(h_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_h, mask=m_b_p)
    tl.store(c_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_c, mask=m_b_p)
    tl.store(n_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_n, mask=m_b_p)
    tl.store(m_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_m, mask=m_b_p)


h_to_m_constants = {"N": N, "P": P, "BB": 16, "BP": 64, "DOT": DOT_TYPE, "num_warps": 4}


def h_to_m_launch(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m, every=0):
    """Run `h_to_m_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = i.shape[:2]
    h_next = h.new_empty((batch, length, N, P), dtype=torch.bfloat16)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    c_T = torch.empty_like(c, memory_format=torch.contiguous_format)
    n_T = torch.empty_like(n, memory_format=torch.contiguous_format)
    m_T = torch.empty_like(m, memory_format=torch.contiguous_format)
    h_P = h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32)
    c_P = h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32)
    n_P = h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32)
    m_P = h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32)
    grid = (triton.cdiv(batch, 16), N)
    with torch.cuda.device_of(h):
        h_to_m_kernel[grid](
            i.contiguous(),
            f.contiguous(),
            z.contiguous(),
            o.contiguous(),
            Ri.contiguous(),
            Rf.contiguous(),
            Rz.contiguous(),
            Ro.contiguous(),
            bi.contiguous(),
            bf.contiguous(),
            bz.contiguous(),
            bo.contiguous(),
            h.contiguous(),
            c.contiguous(),
            n.contiguous(),
            m.contiguous(),
            h_next,
            h_T,
            c_T,
            n_T,
            m_T,
            h_P,
            c_P,
            n_P,
            m_P,
            length,
            batch,
            EVERY=every,
            **h_to_m_constants,
        )
    return h_next, h_T, c_T, n_T, m_T, h_P, c_P, n_P, m_P


@Operator
def h_to_m_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(h_to_m_launch(*tensors, every))
    return separate(h_to_m_plain(*tensors, every), tensors)


@h_to_m_operator.register_fake
def _(tensors, length, every):
    h, c, n, m = tensors[-4:]
    batch = h.shape[0]
    return [
        h.new_empty((batch, length, N, P), dtype=torch.bfloat16),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        torch.empty_like(c, memory_format=torch.contiguous_format),
        torch.empty_like(n, memory_format=torch.contiguous_format),
        torch.empty_like(m, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32),
        h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32),
        h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32),
        h.new_empty((batch, saves(length, every), N, P), dtype=torch.float32),
    ]


h_to_m_operator.register_vmap(
    folded(
        h_to_m_operator,
        (
            True,
            True,
            True,
            True,
            False,
            False,
            False,
            False,
            False,
            False,
            False,
            False,
            True,
            True,
            True,
            True,
        ),
    )
)


def h_to_m_loop(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m) else 0
    return HToMLoop.apply(i.shape[1], every, i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m)[:5]


def h_to_m_plain(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m, every=0):
    """h, c, n, m over time in plain PyTorch: h_next of every position, then the last states, then the
    arriving states of positions `every` apart.
    """
    i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo = widened(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo)
    all_h_next = []
    h_saved = []
    c_saved = []
    n_saved = []
    m_saved = []
    for at, (i, f, z, o) in enumerate(positions(i, f, z, o)):
        if every and at % every == 0:
            h_saved.append(h)
            c_saved.append(c)
            n_saved.append(n)
            m_saved.append(m)
        # std/slstm.lsrl:13  gi = i + Ri @ h + bi
        gi = i + torch.einsum("bni,npi->bnp", h, Ri) + bi
        # std/slstm.lsrl:14  lf = logsigmoid(f + Rf @ h + bf) + m
        lf = F.logsigmoid(f + torch.einsum("bni,npi->bnp", h, Rf) + bf) + m
        # std/slstm.lsrl:15  m' = where(n == 0, gi, max(lf, gi))
        m_next = torch.where(n == 0, gi, torch.maximum(lf, gi))
        # std/slstm.lsrl:16  gf = min(exp(lf - m'), 1)
        gf = torch.minimum(torch.exp(lf - m_next), torch.tensor(1, dtype=torch.float32))
        # std/slstm.lsrl:17  c' = gf * c + min(exp(gi - m'), 1) * tanh(z + Rz @ h + bz)
        c_next_min = torch.minimum(torch.exp(gi - m_next), torch.tensor(1, dtype=torch.float32))
        c_next = gf * c + c_next_min * torch.tanh(z + torch.einsum("bni,npi->bnp", h, Rz) + bz)
        # std/slstm.lsrl:18  n' = gf * n + min(exp(gi - m'), 1)
        n_next = gf * n + c_next_min
        # std/slstm.lsrl:19  h' = sigmoid(o + Ro @ h + bo) * c' / n'
        h_next = torch.sigmoid(o + torch.einsum("bni,npi->bnp", h, Ro) + bo) * c_next / n_next
        all_h_next.append(h_next)
        h, c, n, m = h_next, c_next, n_next, m_next
    return (
        over_time(all_h_next, (N, P), torch.float32, h).to(torch.bfloat16),
        h,
        c,
        n,
        m,
        over_time(h_saved, (N, P), torch.float32, h),
        over_time(c_saved, (N, P), torch.float32, h),
        over_time(n_saved, (N, P), torch.float32, h),
        over_time(m_saved, (N, P), torch.float32, h),
    )


@triton.jit(do_not_specialize=["T", "B"])
def d_h_to_d_m_kernel(
    c,  # [B, T, N, P]
    n,  # [B, T, N, P]
    m,  # [B, T, N, P]
    d_h_next,  # [B, T, N, P]
    f_plus_Rf_h,  # [B, T, N, P]
    i_plus_Ri_h,  # [B, T, N, P]
    o_plus_Ro_h,  # [B, T, N, P]
    z_plus_Rz_h,  # [B, T, N, P]
    Ri,  # [N, P, P], the same at all positions
    Rf,  # [N, P, P], the same at all positions
    Rz,  # [N, P, P], the same at all positions
    Ro,  # [N, P, P], the same at all positions
    bi,  # [N, P], the same at all positions
    bf,  # [N, P], the same at all positions
    bz,  # [N, P], the same at all positions
    bo,  # [N, P], the same at all positions
    d_h_0,  # [B, N, P], at the start
    d_c_0,  # [B, N, P], at the start
    d_n_0,  # [B, N, P], at the start
    d_m_0,  # [B, N, P], at the start
    d_i,  # [B, T, N, P], written
    d_f,  # [B, T, N, P], written
    d_z,  # [B, T, N, P], written
    d_o,  # [B, T, N, P], written
    d_h_T,  # [B, N, P], at the end, written
    d_c_T,  # [B, N, P], at the end, written
    d_n_T,  # [B, N, P], at the end, written
    d_m_T,  # [B, N, P], at the end, written
    T,
    B,
    N: tl.constexpr,
    P: tl.constexpr,
    BB: tl.constexpr,
    BP: tl.constexpr,
    DOT: tl.constexpr,
):
    o_b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)
    m_b = o_b < B
    i_n = tl.program_id(1)
    o_p = tl.arange(0, BP)
    m_b_p = m_b[:, None]

    b_Ri = tl.load(Ri + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_Rf = tl.load(Rf + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_Rz = tl.load(Rz + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_Ro = tl.load(Ro + i_n * P ** 2 + o_p[:, None] * P + o_p[None, :]).to(DOT)  # [BP, BP]
    b_bi = tl.load(bi + i_n * P + o_p).to(tl.float32)  # [BP]
    b_bf = tl.load(bf + i_n * P + o_p).to(tl.float32)  # [BP]
    b_bz = tl.load(bz + i_n * P + o_p).to(tl.float32)  # [BP]
    b_bo = tl.load(bo + i_n * P + o_p).to(tl.float32)  # [BP]
    b_d_h = tl.load(d_h_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_d_c = tl.load(d_c_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_d_n = tl.load(d_n_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_d_m = tl.load(d_m_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)

    p_c = c + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_n = n + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_m = m + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_d_h_next = d_h_next + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_f_plus_Rf_h = f_plus_Rf_h + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_i_plus_Ri_h = i_plus_Ri_h + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_o_plus_Ro_h = o_plus_Ro_h + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_z_plus_Rz_h = z_plus_Rz_h + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_d_i = d_i + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_d_f = d_f + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_d_z = d_z + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    p_d_o = d_o + (o_b[:, None] * T + T - 1) * (N * P) + i_n * P + o_p[None, :]
    for _ in range(T):
        b_c = tl.load(p_c, mask=m_b_p, other=0.0)  # [BB, BP]
        b_n = tl.load(p_n, mask=m_b_p, other=0.0)  # [BB, BP]
        b_m = tl.load(p_m, mask=m_b_p, other=0.0)  # [BB, BP]
        b_d_h_next = tl.load(p_d_h_next, mask=m_b_p, other=0.0).to(tl.float32)  # [BB, BP]
        b_f_plus_Rf_h = tl.load(p_f_plus_Rf_h, mask=m_b_p, other=0.0)  # [BB, BP]
        b_i_plus_Ri_h = tl.load(p_i_plus_Ri_h, mask=m_b_p, other=0.0)  # [BB, BP]
        b_o_plus_Ro_h = tl.load(p_o_plus_Ro_h, mask=m_b_p, other=0.0)  # [BB, BP]
        b_z_plus_Rz_h = tl.load(p_z_plus_Rz_h, mask=m_b_p, other=0.0)  # [BB, BP]
        # std/slstm.lsrl:13  gi = i + Ri @ h + bi
        b_gi = b_i_plus_Ri_h + b_bi[None, :]
        # std/slstm.lsrl:14  lf = logsigmoid(f + Rf @ h + bf) + m
        b_f_plus_Rf_h_plus_bf = b_f_plus_Rf_h + b_bf[None, :]
        b_lf = logsigmoid(b_f_plus_Rf_h_plus_bf) + b_m
        # std/slstm.lsrl:15  m' = where(n == 0, gi, max(lf, gi))
        b_eq_n = b_n == 0
        b_m_next = tl.where(b_eq_n, b_gi, maximum(b_lf, b_gi))
        # std/slstm.lsrl:16  gf = min(exp(lf - m'), 1)
        b_exp_lf_minus_m_next = tl.exp(b_lf - b_m_next)
        b_gf = minimum(b_exp_lf_minus_m_next, 1)
        # std/slstm.lsrl:17  c' = gf * c + min(exp(gi - m'), 1) * tanh(z + Rz @ h + bz)
        b_exp_gi_minus_m_next = tl.exp(b_gi - b_m_next)
        b_min_exp_gi_minus_m_next_one = minimum(b_exp_gi_minus_m_next, 1)
        b_tanh_z_plus_Rz_h_plus_bz = tanh(b_z_plus_Rz_h + b_bz[None, :])
        b_c_next = b_gf * b_c + b_min_exp_gi_minus_m_next_one * b_tanh_z_plus_Rz_h_plus_bz
        # std/slstm.lsrl:18  n' = gf * n + min(exp(gi - m'), 1)
        b_n_next = b_gf * b_n + b_min_exp_gi_minus_m_next_one
        b_d_i_ratio = (b_d_h + b_d_h_next) / b_n_next
        # std/slstm.lsrl:19  h' = sigmoid(o + Ro @ h + bo) * c' / n'
        b_sigmoid_o_plus_Ro_h_plus_bo = tl.sigmoid(b_o_plus_Ro_h + b_bo[None, :])
        b_h_next = b_sigmoid_o_plus_Ro_h_plus_bo * b_c_next / b_n_next
        b_d_n_minus_d_i_ratio_h_next = b_d_n - b_d_i_ratio * b_h_next
        b_d_i_sum = b_d_c + b_sigmoid_o_plus_Ro_h_plus_bo * b_d_i_ratio
        b_d_i_sum_2 = b_d_n_minus_d_i_ratio_h_next + b_d_i_sum * b_tanh_z_plus_Rz_h_plus_bz
        b_d_i_choice = tl.where(
            b_exp_gi_minus_m_next < 1,
            b_d_i_sum_2,
            tl.where(b_exp_gi_minus_m_next == 1, b_d_i_sum_2 * 0.5, 0.0),
        )
        b_d_i_product = b_d_i_choice * b_exp_gi_minus_m_next
        b_d_i_sum_3 = b_d_n_minus_d_i_ratio_h_next * b_n + b_d_i_sum * b_c
        b_d_i_choice_2 = tl.where(
            b_exp_lf_minus_m_next < 1,
            b_d_i_sum_3,
            tl.where(b_exp_lf_minus_m_next == 1, b_d_i_sum_3 * 0.5, 0.0),
        )
        b_d_i_product_2 = b_d_i_choice_2 * b_exp_lf_minus_m_next
        b_d_i_difference = b_d_m - b_d_i_product - b_d_i_product_2
        b_where_eq_n_d_i_difference = tl.where(b_eq_n, 0.0, b_d_i_difference)
        b_d_i_choice_3 = tl.where(b_lf == b_gi, b_where_eq_n_d_i_difference * 0.5, 0.0)
        b_d_i = (
            b_d_i_product
            + tl.where(b_eq_n, b_d_i_difference, 0.0)
            + tl.where(b_gi > b_lf, b_where_eq_n_d_i_difference, b_d_i_choice_3)
        )
        b_d_m_next = b_d_i_product_2 + tl.where(b_lf > b_gi, b_where_eq_n_d_i_difference, b_d_i_choice_3)
        b_d_f = b_d_m_next * tl.sigmoid(-b_f_plus_Rf_h_plus_bf)
        b_d_z = (
            b_min_exp_gi_minus_m_next_one
            * b_d_i_sum
            * (1.0 - b_tanh_z_plus_Rz_h_plus_bz * b_tanh_z_plus_Rz_h_plus_bz)
        )
        b_d_o = (
            b_d_i_ratio
            * b_c_next
            * (b_sigmoid_o_plus_Ro_h_plus_bo * (1.0 - b_sigmoid_o_plus_Ro_h_plus_bo))
        )
        b_Rz_d_z_plus_Ri_d_i = (
            tl.dot(b_d_z.to(DOT), b_Rz, input_precision="ieee")
            + tl.dot(b_d_i.to(DOT), b_Ri, input_precision="ieee")
        )
        b_d_h_next_2_sum = b_Rz_d_z_plus_Ri_d_i + tl.dot(b_d_f.to(DOT), b_Rf, input_precision="ieee")
        b_d_h_next_2 = b_d_h_next_2_sum + tl.dot(b_d_o.to(DOT), b_Ro, input_precision="ieee")
        b_d_c_next = b_gf * b_d_i_sum
        b_d_n_next = b_gf * b_d_n_minus_d_i_ratio_h_next
        tl.store(p_d_i, b_d_i, mask=m_b_p)
        tl.store(p_d_f, b_d_f, mask=m_b_p)
        tl.store(p_d_z, b_d_z, mask=m_b_p)
        tl.store(p_d_o, b_d_o, mask=m_b_p)
        b_d_h, b_d_c, b_d_n, b_d_m = b_d_h_next_2, b_d_c_next, b_d_n_next, b_d_m_next
        p_c -= N * P
        p_n -= N * P
        p_m -= N * P
        p_d_h_next -= N * P
        p_f_plus_Rf_h -= N * P
        p_i_plus_Ri_h -= N * P
        p_o_plus_Ro_h -= N * P
        p_z_plus_Rz_h -= N * P
        p_d_i -= N * P
        p_d_f -= N * P
        p_d_z -= N * P
        p_d_o -= N * P
    tl.store(d_h_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_d_h, mask=m_b_p)
    tl.store(d_c_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_d_c, mask=m_b_p)
    tl.store(d_n_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_d_n, mask=m_b_p)
    tl.store(d_m_T + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], b_d_m, mask=m_b_p)


d_h_to_d_m_constants = {"N": N, "P": P, "BB": 16, "BP": 64, "DOT": DOT_TYPE, "num_warps": 4}


def d_h_to_d_m_launch(
    c,
    n,
    m,
    d_h_next,
    f_plus_Rf_h,
    i_plus_Ri_h,
    o_plus_Ro_h,
    z_plus_Rz_h,
    Ri,
    Rf,
    Rz,
    Ro,
    bi,
    bf,
    bz,
    bo,
    d_h,
    d_c,
    d_n,
    d_m,
):
    """Run `d_h_to_d_m_kernel`: what it keeps of every position, then the last states."""
    batch, length = c.shape[:2]
    d_i = d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16)
    d_f = d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16)
    d_z = d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16)
    d_o = d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    d_c_T = torch.empty_like(d_c, memory_format=torch.contiguous_format)
    d_n_T = torch.empty_like(d_n, memory_format=torch.contiguous_format)
    d_m_T = torch.empty_like(d_m, memory_format=torch.contiguous_format)
    grid = (triton.cdiv(batch, 16), N)
    with torch.cuda.device_of(d_h):
        d_h_to_d_m_kernel[grid](
            c.contiguous(),
            n.contiguous(),
            m.contiguous(),
            d_h_next.contiguous(),
            f_plus_Rf_h.contiguous(),
            i_plus_Ri_h.contiguous(),
            o_plus_Ro_h.contiguous(),
            z_plus_Rz_h.contiguous(),
            Ri.contiguous(),
            Rf.contiguous(),
            Rz.contiguous(),
            Ro.contiguous(),
            bi.contiguous(),
            bf.contiguous(),
            bz.contiguous(),
            bo.contiguous(),
            d_h.contiguous(),
            d_c.contiguous(),
            d_n.contiguous(),
            d_m.contiguous(),
            d_i,
            d_f,
            d_z,
            d_o,
            d_h_T,
            d_c_T,
            d_n_T,
            d_m_T,
            length,
            batch,
            **d_h_to_d_m_constants,
        )
    return d_i, d_f, d_z, d_o, d_h_T, d_c_T, d_n_T, d_m_T


@Operator
def d_h_to_d_m_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_h_to_d_m_launch(*tensors))
    return separate(d_h_to_d_m_plain(*tensors), tensors)


@d_h_to_d_m_operator.register_fake
def _(tensors, length, every):
    d_h, d_c, d_n, d_m = tensors[-4:]
    batch = d_h.shape[0]
    return [
        d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16),
        d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16),
        d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16),
        d_h.new_empty((batch, length, N, P), dtype=torch.bfloat16),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
        torch.empty_like(d_c, memory_format=torch.contiguous_format),
        torch.empty_like(d_n, memory_format=torch.contiguous_format),
        torch.empty_like(d_m, memory_format=torch.contiguous_format),
    ]


d_h_to_d_m_operator.register_vmap(
    folded(
        d_h_to_d_m_operator,
        (
            True,
            True,
            True,
            True,
            True,
            True,
            True,
            True,
            False,
            False,
            False,
            False,
            False,
            False,
            False,
            False,
            True,
            True,
            True,
            True,
        ),
    )
)


def d_h_to_d_m_loop(
    c,
    n,
    m,
    d_h_next,
    f_plus_Rf_h,
    i_plus_Ri_h,
    o_plus_Ro_h,
    z_plus_Rz_h,
    Ri,
    Rf,
    Rz,
    Ro,
    bi,
    bf,
    bz,
    bo,
    d_h,
    d_c,
    d_n,
    d_m,
):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_to_d_m_operator(
        [
            c,
            n,
            m,
            d_h_next,
            f_plus_Rf_h,
            i_plus_Ri_h,
            o_plus_Ro_h,
            z_plus_Rz_h,
            Ri,
            Rf,
            Rz,
            Ro,
            bi,
            bf,
            bz,
            bo,
            d_h,
            d_c,
            d_n,
            d_m,
        ],
        c.shape[1],
        0,
    )


def d_h_to_d_m_plain(
    c,
    n,
    m,
    d_h_next,
    f_plus_Rf_h,
    i_plus_Ri_h,
    o_plus_Ro_h,
    z_plus_Rz_h,
    Ri,
    Rf,
    Rz,
    Ro,
    bi,
    bf,
    bz,
    bo,
    d_h,
    d_c,
    d_n,
    d_m,
):
    """d_h, d_c, d_n, d_m over time in plain PyTorch, from the end to the start: d_i, d_f, d_z, d_o of
    every position, then the last states.
    """
    (
        c, n, m, d_h_next, f_plus_Rf_h, i_plus_Ri_h, o_plus_Ro_h, z_plus_Rz_h, Ri, Rf, Rz, Ro, bi, bf, bz, bo
    ) = widened(
        c, n, m, d_h_next, f_plus_Rf_h, i_plus_Ri_h, o_plus_Ro_h, z_plus_Rz_h, Ri, Rf, Rz, Ro, bi, bf, bz, bo
    )
    all_d_i = []
    all_d_f = []
    all_d_z = []
    all_d_o = []
    for c, n, m, d_h_next, f_plus_Rf_h, i_plus_Ri_h, o_plus_Ro_h, z_plus_Rz_h in positions(
        c, n, m, d_h_next, f_plus_Rf_h, i_plus_Ri_h, o_plus_Ro_h, z_plus_Rz_h, reverse=True
    ):
        # std/slstm.lsrl:13  gi = i + Ri @ h + bi
        gi = i_plus_Ri_h + bi
        # std/slstm.lsrl:14  lf = logsigmoid(f + Rf @ h + bf) + m
        f_plus_Rf_h_plus_bf = f_plus_Rf_h + bf
        lf = F.logsigmoid(f_plus_Rf_h_plus_bf) + m
        # std/slstm.lsrl:15  m' = where(n == 0, gi, max(lf, gi))
        eq_n = n == 0
        m_next = torch.where(eq_n, gi, torch.maximum(lf, gi))
        # std/slstm.lsrl:16  gf = min(exp(lf - m'), 1)
        exp_lf_minus_m_next = torch.exp(lf - m_next)
        gf = torch.minimum(exp_lf_minus_m_next, torch.tensor(1, dtype=torch.float32))
        # std/slstm.lsrl:17  c' = gf * c + min(exp(gi - m'), 1) * tanh(z + Rz @ h + bz)
        exp_gi_minus_m_next = torch.exp(gi - m_next)
        min_exp_gi_minus_m_next_one = torch.minimum(exp_gi_minus_m_next, torch.tensor(1, dtype=torch.float32))
        tanh_z_plus_Rz_h_plus_bz = torch.tanh(z_plus_Rz_h + bz)
        c_next = gf * c + min_exp_gi_minus_m_next_one * tanh_z_plus_Rz_h_plus_bz
        # std/slstm.lsrl:18  n' = gf * n + min(exp(gi - m'), 1)
        n_next = gf * n + min_exp_gi_minus_m_next_one
        d_i_ratio = (d_h + d_h_next) / n_next
        # std/slstm.lsrl:19  h' = sigmoid(o + Ro @ h + bo) * c' / n'
        sigmoid_o_plus_Ro_h_plus_bo = torch.sigmoid(o_plus_Ro_h + bo)
        h_next = sigmoid_o_plus_Ro_h_plus_bo * c_next / n_next
        d_n_minus_d_i_ratio_h_next = d_n - d_i_ratio * h_next
        d_i_sum = d_c + sigmoid_o_plus_Ro_h_plus_bo * d_i_ratio
        d_i_sum_2 = d_n_minus_d_i_ratio_h_next + d_i_sum * tanh_z_plus_Rz_h_plus_bz
        d_i_choice = torch.where(
            exp_gi_minus_m_next < 1, d_i_sum_2, torch.where(exp_gi_minus_m_next == 1, d_i_sum_2 * 0.5, 0.0)
        )
        d_i_product = d_i_choice * exp_gi_minus_m_next
        d_i_sum_3 = d_n_minus_d_i_ratio_h_next * n + d_i_sum * c
        d_i_choice_2 = torch.where(
            exp_lf_minus_m_next < 1, d_i_sum_3, torch.where(exp_lf_minus_m_next == 1, d_i_sum_3 * 0.5, 0.0)
        )
        d_i_product_2 = d_i_choice_2 * exp_lf_minus_m_next
        d_i_difference = d_m - d_i_product - d_i_product_2
        where_eq_n_d_i_difference = torch.where(eq_n, 0.0, d_i_difference)
        d_i_choice_3 = torch.where(lf == gi, where_eq_n_d_i_difference * 0.5, 0.0)
        d_i = (
            d_i_product
            + torch.where(eq_n, d_i_difference, 0.0)
            + torch.where(gi > lf, where_eq_n_d_i_difference, d_i_choice_3)
        )
        d_m_next = d_i_product_2 + torch.where(lf > gi, where_eq_n_d_i_difference, d_i_choice_3)
        d_f = d_m_next * torch.sigmoid(-f_plus_Rf_h_plus_bf)
        d_z = (
            min_exp_gi_minus_m_next_one
            * d_i_sum
            * (1.0 - tanh_z_plus_Rz_h_plus_bz * tanh_z_plus_Rz_h_plus_bz)
        )
        d_o = d_i_ratio * c_next * (sigmoid_o_plus_Ro_h_plus_bo * (1.0 - sigmoid_o_plus_Ro_h_plus_bo))
        Rz_d_z_plus_Ri_d_i = torch.einsum("bnp,npi->bni", d_z, Rz) + torch.einsum("bnp,npi->bni", d_i, Ri)
        d_h_next_2 = (
            Rz_d_z_plus_Ri_d_i
            + torch.einsum("bnp,npi->bni", d_f, Rf)
            + torch.einsum("bnp,npi->bni", d_o, Ro)
        )
        d_c_next = gf * d_i_sum
        d_n_next = gf * d_n_minus_d_i_ratio_h_next
        all_d_i.append(d_i)
        all_d_f.append(d_f)
        all_d_z.append(d_z)
        all_d_o.append(d_o)
        d_h, d_c, d_n, d_m = d_h_next_2, d_c_next, d_n_next, d_m_next
    return (
        over_time(all_d_i, (N, P), torch.float32, d_h, reverse=True).to(torch.bfloat16),
        over_time(all_d_f, (N, P), torch.float32, d_h, reverse=True).to(torch.bfloat16),
        over_time(all_d_z, (N, P), torch.float32, d_h, reverse=True).to(torch.bfloat16),
        over_time(all_d_o, (N, P), torch.float32, d_h, reverse=True).to(torch.bfloat16),
        d_h,
        d_c,
        d_n,
        d_m,
    )


def h_to_m_adjoint(
    i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m, d_h_next, d_h_last, d_c_last, d_n_last, d_m_last
):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # std/slstm.lsrl:13  gi = i + Ri @ h + bi
    i_plus_Ri_h = i.float() + torch.einsum("btni,npi->btnp", h, Ri.float())
    # std/slstm.lsrl:14  lf = logsigmoid(f + Rf @ h + bf) + m
    f_plus_Rf_h = f.float() + torch.einsum("btni,npi->btnp", h, Rf.float())
    # std/slstm.lsrl:17  c' = gf * c + min(exp(gi - m'), 1) * tanh(z + Rz @ h + bz)
    z_plus_Rz_h = z.float() + torch.einsum("btni,npi->btnp", h, Rz.float())
    # std/slstm.lsrl:19  h' = sigmoid(o + Ro @ h + bo) * c' / n'
    o_plus_Ro_h = o.float() + torch.einsum("btni,npi->btnp", h, Ro.float())

    d_i, d_f, d_z, d_o, d_h_last_2, d_c_last_2, d_n_last_2, d_m_last_2 = d_h_to_d_m_loop(
        c,
        n,
        m,
        d_h_next,
        f_plus_Rf_h,
        i_plus_Ri_h,
        o_plus_Ro_h,
        z_plus_Rz_h,
        Ri,
        Rf,
        Rz,
        Ro,
        bi,
        bf,
        bz,
        bo,
        d_h_last,
        d_c_last,
        d_n_last,
        d_m_last,
    )
    d_o_sum = d_o.float().sum((0, 1))
    d_o_h_sum = torch.einsum("btnp,btni->npi", d_o, h.to(torch.bfloat16))
    d_f_sum = d_f.float().sum((0, 1))
    d_f_h_sum = torch.einsum("btnp,btni->npi", d_f, h.to(torch.bfloat16))
    d_i_sum = d_i.float().sum((0, 1))
    d_i_h_sum = torch.einsum("btnp,btni->npi", d_i, h.to(torch.bfloat16))
    d_z_sum = d_z.float().sum((0, 1))
    d_z_h_sum = torch.einsum("btnp,btni->npi", d_z, h.to(torch.bfloat16))

    return (
        d_i.to(torch.bfloat16),
        d_f.to(torch.bfloat16),
        d_z.to(torch.bfloat16),
        d_o.to(torch.bfloat16),
        d_i_h_sum.to(torch.bfloat16),
        d_f_h_sum.to(torch.bfloat16),
        d_z_h_sum.to(torch.bfloat16),
        d_o_h_sum.to(torch.bfloat16),
        d_i_sum.to(torch.bfloat16),
        d_f_sum.to(torch.bfloat16),
        d_z_sum.to(torch.bfloat16),
        d_o_sum.to(torch.bfloat16),
        d_h_last_2,
        d_c_last_2,
        d_n_last_2,
        d_m_last_2,
    )


class HToMDerivative(torch.autograd.Function):
    """`h_to_m_adjoint`, whose own derivative goes through `h_to_m_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        length,
        every,
        i,
        f,
        z,
        o,
        Ri,
        Rf,
        Rz,
        Ro,
        bi,
        bf,
        bz,
        bo,
        h,
        c,
        n,
        m,
        h_saved,
        c_saved,
        n_saved,
        m_saved,
        d_h_next,
        d_h_last,
        d_c_last,
        d_n_last,
        d_m_last,
    ):
        if not every:
            every = 1
            *_, h_saved, c_saved, n_saved, m_saved = h_to_m_operator(
                [i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m], length, every
            )
        return h_to_m_adjoint(
            i,
            f,
            z,
            o,
            Ri,
            Rf,
            Rz,
            Ro,
            bi,
            bf,
            bz,
            bo,
            h_saved,
            c_saved,
            n_saved,
            m_saved,
            d_h_next,
            d_h_last,
            d_c_last,
            d_n_last,
            d_m_last,
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:16], *tensors[20:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(h_to_m_plain, tensors[:16], tensors[16:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:16], None, None, None, None, *found[16:]


class HToMLoop(torch.autograd.Function):
    """`h_to_m_operator`, whose derivative is `HToMDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m):
        return tuple(h_to_m_operator([i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[5:])
        ctx.mark_non_differentiable(*output[5:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h, c, n, m = tensors[12:16]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, N, P), torch.bfloat16),
            filled(cotangents[1], h, h.shape, h.dtype),
            filled(cotangents[2], h, c.shape, c.dtype),
            filled(cotangents[3], h, n.shape, n.dtype),
            filled(cotangents[4], h, m.shape, m.dtype),
        ]
        return None, None, *HToMDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "Ri": (1 / math.sqrt(P) * torch.randn((N, P, P), generator=generator, dtype=torch.float32)).to(
            torch.bfloat16
        ),
        "Rf": (1 / math.sqrt(P) * torch.randn((N, P, P), generator=generator, dtype=torch.float32)).to(
            torch.bfloat16
        ),
        "Rz": (1 / math.sqrt(P) * torch.randn((N, P, P), generator=generator, dtype=torch.float32)).to(
            torch.bfloat16
        ),
        "Ro": (1 / math.sqrt(P) * torch.randn((N, P, P), generator=generator, dtype=torch.float32)).to(
            torch.bfloat16
        ),
        "bi": torch.zeros((N, P), dtype=torch.bfloat16, device=device),
        "bf": torch.zeros((N, P), dtype=torch.bfloat16, device=device),
        "bz": torch.zeros((N, P), dtype=torch.bfloat16, device=device),
        "bo": torch.zeros((N, P), dtype=torch.bfloat16, device=device),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "h": torch.zeros((batch, N, P), dtype=torch.float32, device=device),
        "c": torch.zeros((batch, N, P), dtype=torch.float32, device=device),
        "n": torch.zeros((batch, N, P), dtype=torch.float32, device=device),
        "m": torch.zeros((batch, N, P), dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["i"].shape[:2]
    device = inputs["i"].device
    Ri = taken(params, "Ri", (N, P, P), torch.bfloat16)
    Rf = taken(params, "Rf", (N, P, P), torch.bfloat16)
    Rz = taken(params, "Rz", (N, P, P), torch.bfloat16)
    Ro = taken(params, "Ro", (N, P, P), torch.bfloat16)
    bi = taken(params, "bi", (N, P), torch.bfloat16)
    bf = taken(params, "bf", (N, P), torch.bfloat16)
    bz = taken(params, "bz", (N, P), torch.bfloat16)
    bo = taken(params, "bo", (N, P), torch.bfloat16)
    i = taken(inputs, "i", (batch, length, N, P), torch.bfloat16)
    f = taken(inputs, "f", (batch, length, N, P), torch.bfloat16)
    z = taken(inputs, "z", (batch, length, N, P), torch.bfloat16)
    o = taken(inputs, "o", (batch, length, N, P), torch.bfloat16)
    state = starting(params, state, batch, device)

    h_next, h_last, c_last, n_last, m_last = h_to_m_loop(
        i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, state["h"], state["c"], state["n"], state["m"]
    )

    return {"h": h_next}, {"h": h_last, "c": c_last, "n": n_last, "m": m_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Slstm(torch.nn.Module):
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
    "h, c, n, m": "one Triton kernel over time, cdiv(batch, 16) x N programs of 4 warps",
}
KERNELS = (
    (
        h_to_m_kernel,
        {
            "i": "*bf16",
            "f": "*bf16",
            "z": "*bf16",
            "o": "*bf16",
            "Ri": "*bf16",
            "Rf": "*bf16",
            "Rz": "*bf16",
            "Ro": "*bf16",
            "bi": "*bf16",
            "bf": "*bf16",
            "bz": "*bf16",
            "bo": "*bf16",
            "h_0": "*fp32",
            "c_0": "*fp32",
            "n_0": "*fp32",
            "m_0": "*fp32",
            "h_next": "*bf16",
            "h_T": "*fp32",
            "c_T": "*fp32",
            "n_T": "*fp32",
            "m_T": "*fp32",
            "h_P": "*fp32",
            "c_P": "*fp32",
            "n_P": "*fp32",
            "m_P": "*fp32",
            "T": "i32",
            "B": "i32",
        },
        h_to_m_constants | {"EVERY": 1},
    ),
    (
        d_h_to_d_m_kernel,
        {
            "c": "*fp32",
            "n": "*fp32",
            "m": "*fp32",
            "d_h_next": "*bf16",
            "f_plus_Rf_h": "*fp32",
            "i_plus_Ri_h": "*fp32",
            "o_plus_Ro_h": "*fp32",
            "z_plus_Rz_h": "*fp32",
            "Ri": "*bf16",
            "Rf": "*bf16",
            "Rz": "*bf16",
            "Ro": "*bf16",
            "bi": "*bf16",
            "bf": "*bf16",
            "bz": "*bf16",
            "bo": "*bf16",
            "d_h_0": "*fp32",
            "d_c_0": "*fp32",
            "d_n_0": "*fp32",
            "d_m_0": "*fp32",
            "d_i": "*bf16",
            "d_f": "*bf16",
            "d_z": "*bf16",
            "d_o": "*bf16",
            "d_h_T": "*fp32",
            "d_c_T": "*fp32",
            "d_n_T": "*fp32",
            "d_m_T": "*fp32",
            "T": "i32",
            "B": "i32",
        },
        d_h_to_d_m_constants,
    ),
)
