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

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/slstm by
    lsrl compile std/slstm --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
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


def is_smooth(tensor):
    """Whether a tensor can have gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def pulled_back(plain, tensors, needs, gradients):
    """The gradients of a loop's tensors, through its plain form run anew; differentiable once more when asked to be."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A view is a variable of its own: what reaches one tensor by way of another must not count twice.
        own = [x.view_as(x) if again else x.detach().requires_grad_(need) for x, need in zip(tensors, needs)]
        pairs = [(y, g) for y, g in zip(plain(*own), gradients) if y.requires_grad]
        wanted = [x for x, need in zip(own, needs) if need]
        if not pairs:
            return [None] * len(needs)
        outputs, seeds = zip(*pairs)
        found = iter(torch.autograd.grad(outputs, wanted, seeds, create_graph=again, allow_unused=True))
    return [next(found) if need else None for need in needs]


def register(module, name, param):
    """A parameter under its dotted name: `layers.0.Wz` becomes the parameter Wz of module.layers.0."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_parameter(last, torch.nn.Parameter(param, requires_grad=is_smooth(param)))


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
    b_h = tl.load(h_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_c = tl.load(c_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_n = tl.load(n_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)
    b_m = tl.load(m_0 + o_b[:, None] * (N * P) + i_n * P + o_p[None, :], mask=m_b_p, other=0.0)

    p_i = i + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_f = f + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_z = z + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_o = o + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    p_h_next = h_next + o_b[:, None] * T * (N * P) + i_n * P + o_p[None, :]
    for _ in range(T):
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


def h_to_m_launch(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m):
    """Run `h_to_m_kernel`: what it keeps of every position, then the last states."""
    batch, length = i.shape[:2]
    h_next = h.new_empty((batch, length, N, P), dtype=torch.bfloat16)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    c_T = torch.empty_like(c, memory_format=torch.contiguous_format)
    n_T = torch.empty_like(n, memory_format=torch.contiguous_format)
    m_T = torch.empty_like(m, memory_format=torch.contiguous_format)
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
            length,
            batch,
            **h_to_m_constants,
        )
    return h_next, h_T, c_T, n_T, m_T


class HToMLoop(torch.autograd.Function):
    """`h_to_m_launch` forward; backward through `h_to_m_plain`."""

    @staticmethod
    def forward(*arguments):
        return h_to_m_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(h_to_m_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def h_to_m_loop(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HToMLoop.apply(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m)
    return h_to_m_plain(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m)


def h_to_m_plain(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo, h, c, n, m):
    """h, c, n, m over time in plain PyTorch: h_next of every position, then the last states."""
    i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo = widened(i, f, z, o, Ri, Rf, Rz, Ro, bi, bf, bz, bo)
    all_h_next = []
    for i, f, z, o in positions(i, f, z, o):
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
    return over_time(all_h_next, (N, P), torch.float32, h).to(torch.bfloat16), h, c, n, m


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
            "T": "i32",
            "B": "i32",
        },
        h_to_m_constants,
    ),
)
