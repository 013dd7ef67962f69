"""tagger

Arrays, by name:
    inputs   token [B, T] int
    params   E [V, D]; gru.W_ih [3*H, D]; gru.W_hh [3*H, H]; gru.b_ih, gru.b_hh [3*H]; mingru.Wz,
             mingru.Wh [H, D]; mingru.bz, mingru.bh [H]
    state    gru.h, mingru.h [B, H]
    outputs  y [B, T, 2*H]

Schedule of gru.h: one Triton kernel over time, batch programs of 8 warps.
Schedule of mingru.h: one Triton kernel over time, batch programs of 1 warp.
There is no `step`: mingru.h arrives from the end of the sequence.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from reversed.lsrl by
    lsrl compile reversed.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import warnings

import torch
import triton
import triton.language as tl

V, D, H = 256, 32, 64

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # kernels then run on the CPU, slowly


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


def uniform(shape, low, high, generator):
    """Uniform between two numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


@triton.jit
def tanh(x):
    """Hyperbolic tangent; its series near 0, where the quotient loses digits."""
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    s = x * x
    near = x * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
    return tl.where(s < 0.01, near, tl.where(x < 0, -far, far))


@triton.jit(do_not_specialize=["T"])
def gru_h_kernel(
    gru_W_ih_x_plus_b_ih,  # [B, T, 3*H]
    gru_W_hh,  # [3*H, H], the same at all positions
    gru_b_hh,  # [3*H], the same at all positions
    gru_h_0,  # [B, H], at the start
    gru_h_next,  # [B, T, H], written
    gru_h_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_gru_W_hh_gru_hr = tl.load(gru_W_hh + o_h[:, None] * H + o_h[None, :])  # [BH, BH]
    b_gru_W_hh_gru_hz = tl.load(gru_W_hh + o_h[:, None] * H + o_h[None, :] + H ** 2)  # [BH, BH]
    b_gru_W_hh_gru_hn = tl.load(gru_W_hh + o_h[:, None] * H + o_h[None, :] + 2 * H ** 2)  # [BH, BH]
    b_gru_b_hh_gru_hr = tl.load(gru_b_hh + o_h)  # [BH]
    b_gru_b_hh_gru_hz = tl.load(gru_b_hh + o_h + H)  # [BH]
    b_gru_b_hh_gru_hn = tl.load(gru_b_hh + o_h + 2 * H)  # [BH]
    b_gru_h = tl.load(gru_h_0 + i_b * H + o_h)  # [BH]

    p_gru_xr = gru_W_ih_x_plus_b_ih + i_b * T * (3 * H) + o_h
    p_gru_xz = gru_W_ih_x_plus_b_ih + i_b * T * (3 * H) + o_h + H
    p_gru_xn = gru_W_ih_x_plus_b_ih + i_b * T * (3 * H) + o_h + 2 * H
    p_gru_h_next = gru_h_next + i_b * T * H + o_h
    for _ in range(T):
        b_gru_xr = tl.load(p_gru_xr)  # [BH]
        b_gru_xz = tl.load(p_gru_xz)  # [BH]
        b_gru_xn = tl.load(p_gru_xn)  # [BH]
        # std/gru.lsrl:14  hr, hz, hn = split(W_hh @ h + b_hh, 3)
        b_gru_hz = tl.sum(b_gru_W_hh_gru_hz * b_gru_h[None, :], axis=1) + b_gru_b_hh_gru_hz
        b_gru_hr = tl.sum(b_gru_W_hh_gru_hr * b_gru_h[None, :], axis=1) + b_gru_b_hh_gru_hr
        b_gru_hn = tl.sum(b_gru_W_hh_gru_hn * b_gru_h[None, :], axis=1) + b_gru_b_hh_gru_hn
        # std/gru.lsrl:15  r = sigmoid(xr + hr)
        b_gru_r = tl.sigmoid(b_gru_xr + b_gru_hr)
        # std/gru.lsrl:16  z = sigmoid(xz + hz)
        b_gru_z = tl.sigmoid(b_gru_xz + b_gru_hz)
        # std/gru.lsrl:17  n = tanh(xn + r * hn)
        b_gru_n = tanh(b_gru_xn + b_gru_r * b_gru_hn)
        # std/gru.lsrl:18  h' = (1 - z) * n + z * h
        b_gru_h_next = (1 - b_gru_z) * b_gru_n + b_gru_z * b_gru_h
        tl.store(p_gru_h_next, b_gru_h_next)
        b_gru_h = b_gru_h_next
        p_gru_xr += 3 * H
        p_gru_xz += 3 * H
        p_gru_xn += 3 * H
        p_gru_h_next += H
    tl.store(gru_h_T + i_b * H + o_h, b_gru_h)


gru_h_constants = {"H": H, "BH": 64, "num_warps": 8}


def gru_h_launch(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h):
    """Run `gru_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = gru_W_ih_x_plus_b_ih.shape[:2]
    gru_h_next = gru_h.new_empty((batch, length, H), dtype=torch.float32)
    gru_h_T = torch.empty_like(gru_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(gru_h):
        gru_h_kernel[grid](
            gru_W_ih_x_plus_b_ih.contiguous(),
            gru_W_hh.contiguous(),
            gru_b_hh.contiguous(),
            gru_h.contiguous(),
            gru_h_next,
            gru_h_T,
            length,
            **gru_h_constants,
        )
    return gru_h_next, gru_h_T


class GruHLoop(torch.autograd.Function):
    """`gru_h_launch` forward; backward through `gru_h_plain`."""

    @staticmethod
    def forward(*arguments):
        return gru_h_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(gru_h_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def gru_h_loop(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(gru_h):
        return GruHLoop.apply(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h)
    return gru_h_plain(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h)


def gru_h_plain(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h):
    """gru.h over time in plain PyTorch: gru_h_next of every position, then the last states."""
    all_gru_h_next = []
    for (gru_W_ih_x_plus_b_ih,) in positions(gru_W_ih_x_plus_b_ih):
        # std/gru.lsrl:13  xr, xz, xn = split(W_ih @ x + b_ih, 3)
        gru_xz = gru_W_ih_x_plus_b_ih[..., H : 2 * H]  # [B, H]
        gru_xn = gru_W_ih_x_plus_b_ih[..., 2 * H :]  # [B, H]
        gru_xr = gru_W_ih_x_plus_b_ih[..., :H]  # [B, H]
        # std/gru.lsrl:14  hr, hz, hn = split(W_hh @ h + b_hh, 3)
        gru_hr, gru_hz, gru_hn = (gru_h @ gru_W_hh.mT + gru_b_hh).split(H, -1)  # [B, H]
        # std/gru.lsrl:15  r = sigmoid(xr + hr)
        gru_r = torch.sigmoid(gru_xr + gru_hr)
        # std/gru.lsrl:16  z = sigmoid(xz + hz)
        gru_z = torch.sigmoid(gru_xz + gru_hz)
        # std/gru.lsrl:17  n = tanh(xn + r * hn)
        gru_n = torch.tanh(gru_xn + gru_r * gru_hn)
        # std/gru.lsrl:18  h' = (1 - z) * n + z * h
        gru_h_next = (1 - gru_z) * gru_n + gru_z * gru_h
        all_gru_h_next.append(gru_h_next)
        gru_h = gru_h_next
    return over_time(all_gru_h_next, (H,), torch.float32, gru_h), gru_h


@triton.jit(do_not_specialize=["T"])
def mingru_h_kernel(
    x_products,  # [B, T, 5*H]
    mingru_bz,  # [H], the same at all positions
    mingru_bh,  # [H], the same at all positions
    mingru_h_0,  # [B, H], at the start
    mingru_h_next,  # [B, T, H], written
    mingru_h_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_mingru_bz = tl.load(mingru_bz + o_h)  # [BH]
    b_mingru_bh = tl.load(mingru_bh + o_h)  # [BH]
    b_mingru_h = tl.load(mingru_h_0 + i_b * H + o_h)  # [BH]

    p_x_products_mingru_z = x_products + (i_b * T + T - 1) * (5 * H) + o_h + 3 * H
    p_x_products_mingru_c = x_products + (i_b * T + T - 1) * (5 * H) + o_h + 4 * H
    p_mingru_h_next = mingru_h_next + (i_b * T + T - 1) * H + o_h
    for _ in range(T):
        b_x_products_mingru_z = tl.load(p_x_products_mingru_z)  # [BH]
        b_x_products_mingru_c = tl.load(p_x_products_mingru_c)  # [BH]
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        b_mingru_z = tl.sigmoid(b_x_products_mingru_z + b_mingru_bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        b_mingru_c = b_x_products_mingru_c + b_mingru_bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        b_mingru_h_next = (1 - b_mingru_z) * b_mingru_h + b_mingru_z * b_mingru_c
        tl.store(p_mingru_h_next, b_mingru_h_next)
        b_mingru_h = b_mingru_h_next
        p_x_products_mingru_z -= 5 * H
        p_x_products_mingru_c -= 5 * H
        p_mingru_h_next -= H
    tl.store(mingru_h_T + i_b * H + o_h, b_mingru_h)


mingru_h_constants = {"H": H, "BH": 64, "num_warps": 1}


def mingru_h_launch(x_products, mingru_bz, mingru_bh, mingru_h):
    """Run `mingru_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = x_products.shape[:2]
    mingru_h_next = mingru_h.new_empty((batch, length, H), dtype=torch.float32)
    mingru_h_T = torch.empty_like(mingru_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(mingru_h):
        mingru_h_kernel[grid](
            x_products.contiguous(),
            mingru_bz.contiguous(),
            mingru_bh.contiguous(),
            mingru_h.contiguous(),
            mingru_h_next,
            mingru_h_T,
            length,
            **mingru_h_constants,
        )
    return mingru_h_next, mingru_h_T


class MingruHLoop(torch.autograd.Function):
    """`mingru_h_launch` forward; backward through `mingru_h_plain`."""

    @staticmethod
    def forward(*arguments):
        return mingru_h_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(mingru_h_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def mingru_h_loop(x_products, mingru_bz, mingru_bh, mingru_h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(mingru_h):
        return MingruHLoop.apply(x_products, mingru_bz, mingru_bh, mingru_h)
    return mingru_h_plain(x_products, mingru_bz, mingru_bh, mingru_h)


def mingru_h_plain(x_products, mingru_bz, mingru_bh, mingru_h):
    """mingru.h over time in plain PyTorch, from the end to the start: mingru_h_next of every position,
    then the last states.
    """
    all_mingru_h_next = []
    for (x_products,) in positions(x_products, reverse=True):
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        mingru_z = torch.sigmoid(x_products[..., 3 * H : 4 * H] + mingru_bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        mingru_c = x_products[..., 4 * H :] + mingru_bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        mingru_h_next = (1 - mingru_z) * mingru_h + mingru_z * mingru_c
        all_mingru_h_next.append(mingru_h_next)
        mingru_h = mingru_h_next
    return over_time(all_mingru_h_next, (H,), torch.float32, mingru_h, reverse=True), mingru_h


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "E": 1 * torch.randn((V, D), generator=generator, dtype=torch.float32),
        "gru.W_ih": uniform((3 * H, D), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "gru.W_hh": uniform((3 * H, H), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "gru.b_ih": uniform((3 * H,), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "gru.b_hh": uniform((3 * H,), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "mingru.Wz": uniform((H, D), -1 / math.sqrt(D), 1 / math.sqrt(D), generator),
        "mingru.Wh": uniform((H, D), -1 / math.sqrt(D), 1 / math.sqrt(D), generator),
        "mingru.bz": torch.zeros((H,), dtype=torch.float32, device=device),
        "mingru.bh": torch.zeros((H,), dtype=torch.float32, device=device),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "gru.h": torch.zeros((batch, H), dtype=torch.float32, device=device),
        "mingru.h": torch.zeros((batch, H), dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["token"].shape[:2]
    device = inputs["token"].device
    E = taken(params, "E", (V, D), torch.float32)
    gru_W_ih = taken(params, "gru.W_ih", (3 * H, D), torch.float32)
    gru_W_hh = taken(params, "gru.W_hh", (3 * H, H), torch.float32)
    gru_b_ih = taken(params, "gru.b_ih", (3 * H,), torch.float32)
    gru_b_hh = taken(params, "gru.b_hh", (3 * H,), torch.float32)
    mingru_Wz = taken(params, "mingru.Wz", (H, D), torch.float32)
    mingru_Wh = taken(params, "mingru.Wh", (H, D), torch.float32)
    mingru_bz = taken(params, "mingru.bz", (H,), torch.float32)
    mingru_bh = taken(params, "mingru.bh", (H,), torch.float32)
    token = taken(inputs, "token", (batch, length), torch.int64)
    state = starting(params, state, batch, device)

    # <text>:7  x = E[token]
    x = E[token.clamp(0, V - 1)]  # [B, T, D]
    # std/gru.lsrl:13  xr, xz, xn = split(W_ih @ x + b_ih, 3)
    x_products = x @ torch.cat([gru_W_ih, mingru_Wz, mingru_Wh]).mT  # [B, T, 5*H]
    gru_W_ih_x_plus_b_ih = x_products[..., : 3 * H] + gru_b_ih

    gru_h_next, gru_h_last = gru_h_loop(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, state["gru.h"])

    mingru_h_next, mingru_h_last = mingru_h_loop(x_products, mingru_bz, mingru_bh, state["mingru.h"])

    # <text>:8  y = concat(gru(D, H)(x), reverse mingru(D, H)(x))
    y = torch.cat([gru_h_next, mingru_h_next], -1)  # [B, T, 2*H]

    return {"y": y}, {"gru.h": gru_h_last, "mingru.h": mingru_h_last}


class Tagger(torch.nn.Module):
    """`apply` and `step` with parameters of their own."""

    def __init__(self, seed=0, device=None):
        super().__init__()
        for name, param in init(seed, device).items():
            register(self, name, param)

    def forward(self, inputs, state=None, **options):
        return apply(dict(self.named_parameters()), inputs, state, **options)


SCHEDULE = {
    "gru.h": "one Triton kernel over time, batch programs of 8 warps",
    "mingru.h": "one Triton kernel over time, batch programs of 1 warp",
}
KERNELS = (
    (
        gru_h_kernel,
        {
            "gru_W_ih_x_plus_b_ih": "*fp32",
            "gru_W_hh": "*fp32",
            "gru_b_hh": "*fp32",
            "gru_h_0": "*fp32",
            "gru_h_next": "*fp32",
            "gru_h_T": "*fp32",
            "T": "i32",
        },
        gru_h_constants,
    ),
    (
        mingru_h_kernel,
        {
            "x_products": "*fp32",
            "mingru_bz": "*fp32",
            "mingru_bh": "*fp32",
            "mingru_h_0": "*fp32",
            "mingru_h_next": "*fp32",
            "mingru_h_T": "*fp32",
            "T": "i32",
        },
        mingru_h_constants,
    ),
)
