"""tagger

Arrays, by name:
    inputs   token [B, T] int
    params   E [V, D]; gru.W_ih [3*H, D]; gru.W_hh [3*H, H]; gru.b_ih, gru.b_hh [3*H]; mingru.Wz,
             mingru.Wh [H, D]; mingru.bz, mingru.bh [H]
    state    gru.h, mingru.h [B, H]
    outputs  y [B, T, 2*H]

Schedule of gru.h: one Triton kernel over time, batch programs of 8 warps.
Schedule of mingru.h: one Triton kernel over time, batch programs of 1 warp.
Backward pass of gru.h: one Triton kernel over time, batch programs of 8 warps, from gru.h kept at every
    position.
Backward pass of mingru.h: one Triton kernel over time, batch programs of 1 warp, from mingru.h kept at
    every position.
There is no `step`: mingru.h arrives from the end of the sequence.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from reversed.lsrl by
    lsrl compile reversed.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import sys
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
OPERATORS = own_namespace("lsrl_ece18597f587")


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
    gru_h_P,  # [B, P, H], now and then, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
    EVERY: tl.constexpr,
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

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_gru_h_saved = gru_h_P + i_b * P * H + o_h
    p_gru_xr = gru_W_ih_x_plus_b_ih + i_b * T * (3 * H) + o_h
    p_gru_xz = gru_W_ih_x_plus_b_ih + i_b * T * (3 * H) + o_h + H
    p_gru_xn = gru_W_ih_x_plus_b_ih + i_b * T * (3 * H) + o_h + 2 * H
    p_gru_h_next = gru_h_next + i_b * T * H + o_h
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_gru_h_saved, b_gru_h)
                p_gru_h_saved += H
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


def gru_h_launch(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h, every=0):
    """Run `gru_h_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = gru_W_ih_x_plus_b_ih.shape[:2]
    gru_h_next = gru_h.new_empty((batch, length, H), dtype=torch.float32)
    gru_h_T = torch.empty_like(gru_h, memory_format=torch.contiguous_format)
    gru_h_P = gru_h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    grid = (batch,)
    with torch.cuda.device_of(gru_h):
        gru_h_kernel[grid](
            gru_W_ih_x_plus_b_ih.contiguous(),
            gru_W_hh.contiguous(),
            gru_b_hh.contiguous(),
            gru_h.contiguous(),
            gru_h_next,
            gru_h_T,
            gru_h_P,
            length,
            EVERY=every,
            **gru_h_constants,
        )
    return gru_h_next, gru_h_T, gru_h_P


@Operator
def gru_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(gru_h_launch(*tensors, every))
    return separate(gru_h_plain(*tensors, every), tensors)


@gru_h_operator.register_fake
def _(tensors, length, every):
    gru_h = tensors[-1]
    batch = gru_h.shape[0]
    return [
        gru_h.new_empty((batch, length, H), dtype=torch.float32),
        torch.empty_like(gru_h, memory_format=torch.contiguous_format),
        gru_h.new_empty((batch, saves(length, every), H), dtype=torch.float32),
    ]


gru_h_operator.register_vmap(folded(gru_h_operator, (True, False, False, True)))


def gru_h_loop(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h) else 0
    return GruHLoop.apply(
        gru_W_ih_x_plus_b_ih.shape[1], every, gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h
    )[:2]


def gru_h_plain(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h, every=0):
    """gru.h over time in plain PyTorch: gru_h_next of every position, then the last states, then the
    arriving states of positions `every` apart.
    """
    all_gru_h_next = []
    gru_h_saved = []
    for at, (gru_W_ih_x_plus_b_ih,) in enumerate(positions(gru_W_ih_x_plus_b_ih)):
        if every and at % every == 0:
            gru_h_saved.append(gru_h)
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
    return (
        over_time(all_gru_h_next, (H,), torch.float32, gru_h),
        gru_h,
        over_time(gru_h_saved, (H,), torch.float32, gru_h),
    )


@triton.jit(do_not_specialize=["T"])
def d_gru_h_kernel(
    gru_W_ih_x_plus_b_ih,  # [B, T, 3*H]
    gru_h,  # [B, T, H]
    d_gru_h_next,  # [B, T, H]
    gru_xz_plus_hz,  # [B, T, H]
    gru_xr_plus_hr,  # [B, T, H]
    gru_W_hh_h_plus_b_hh,  # [B, T, 3*H]
    gru_W_hh,  # [3*H, H], the same at all positions
    d_gru_h_0,  # [B, H], at the start
    d_gru_W_ih_x_plus_b_ih_product,  # [B, T, H], written
    d_gru_W_ih_x_plus_b_ih_product_2,  # [B, T, H], written
    d_gru_W_ih_x_plus_b_ih_product_3,  # [B, T, H], written
    d_gru_b_hh,  # [B, T, 3*H], written
    d_gru_h_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_gru_W_hh_d_gru_h_next = tl.load(gru_W_hh + o_h[:, None] * H + o_h[None, :])  # [BH, BH]
    b_gru_W_hh_d_gru_h_next_2 = tl.load(gru_W_hh + o_h[:, None] * H + o_h[None, :] + H ** 2)  # [BH, BH]
    b_gru_W_hh_d_gru_h_next_3 = tl.load(gru_W_hh + o_h[:, None] * H + o_h[None, :] + 2 * H ** 2)
    b_d_gru_h = tl.load(d_gru_h_0 + i_b * H + o_h)  # [BH]

    p_gru_xn = gru_W_ih_x_plus_b_ih + (i_b * T + T - 1) * (3 * H) + o_h + 2 * H
    p_gru_h = gru_h + (i_b * T + T - 1) * H + o_h
    p_d_gru_h_next = d_gru_h_next + (i_b * T + T - 1) * H + o_h
    p_gru_xz_plus_hz = gru_xz_plus_hz + (i_b * T + T - 1) * H + o_h
    p_gru_xr_plus_hr = gru_xr_plus_hr + (i_b * T + T - 1) * H + o_h
    p_gru_hn = gru_W_hh_h_plus_b_hh + (i_b * T + T - 1) * (3 * H) + o_h + 2 * H
    p_d_gru_W_ih_x_plus_b_ih_product = d_gru_W_ih_x_plus_b_ih_product + (i_b * T + T - 1) * H + o_h
    p_d_gru_W_ih_x_plus_b_ih_product_2 = d_gru_W_ih_x_plus_b_ih_product_2 + (i_b * T + T - 1) * H + o_h
    p_d_gru_W_ih_x_plus_b_ih_product_3 = d_gru_W_ih_x_plus_b_ih_product_3 + (i_b * T + T - 1) * H + o_h
    p_d_gru_W_ih_x_plus_b_ih_product_2_2 = d_gru_b_hh + (i_b * T + T - 1) * (3 * H) + o_h
    p_d_gru_W_ih_x_plus_b_ih_product_3_2 = d_gru_b_hh + (i_b * T + T - 1) * (3 * H) + o_h + H
    p_d_gru_b_hh_2 = d_gru_b_hh + (i_b * T + T - 1) * (3 * H) + o_h + 2 * H
    for _ in range(T):
        b_gru_xn = tl.load(p_gru_xn)  # [BH]
        b_gru_h = tl.load(p_gru_h)  # [BH]
        b_d_gru_h_next = tl.load(p_d_gru_h_next)  # [BH]
        b_gru_xz_plus_hz = tl.load(p_gru_xz_plus_hz)  # [BH]
        b_gru_xr_plus_hr = tl.load(p_gru_xr_plus_hr)  # [BH]
        b_gru_hn = tl.load(p_gru_hn)  # [BH]
        # std/gru.lsrl:15  r = sigmoid(xr + hr)
        b_gru_r = tl.sigmoid(b_gru_xr_plus_hr)
        # std/gru.lsrl:16  z = sigmoid(xz + hz)
        b_gru_z = tl.sigmoid(b_gru_xz_plus_hz)
        # std/gru.lsrl:17  n = tanh(xn + r * hn)
        b_gru_n = tanh(b_gru_xn + b_gru_r * b_gru_hn)
        b_d_gru_h_plus_d_gru_h_next = b_d_gru_h + b_d_gru_h_next
        b_d_gru_W_ih_x_plus_b_ih_product = (
            (1 - b_gru_z)
            * b_d_gru_h_plus_d_gru_h_next
            * (1.0 - b_gru_n * b_gru_n)
        )
        b_d_gru_W_ih_x_plus_b_ih_product_2 = (
            b_d_gru_W_ih_x_plus_b_ih_product
            * b_gru_hn
            * (b_gru_r * (1.0 - b_gru_r))
        )
        b_d_gru_W_ih_x_plus_b_ih_product_3_difference = (
            b_d_gru_h_plus_d_gru_h_next * b_gru_h
            - b_d_gru_h_plus_d_gru_h_next * b_gru_n
        )
        b_d_gru_W_ih_x_plus_b_ih_product_3 = (
            b_d_gru_W_ih_x_plus_b_ih_product_3_difference
            * (b_gru_z * (1.0 - b_gru_z))
        )
        b_d_gru_b_hh_2 = b_gru_r * b_d_gru_W_ih_x_plus_b_ih_product
        b_d_gru_h_next_2_product = tl.sum(
            b_gru_W_hh_d_gru_h_next * b_d_gru_W_ih_x_plus_b_ih_product_2[:, None], axis=0
        )
        b_d_gru_h_next_2_product_2 = tl.sum(
            b_gru_W_hh_d_gru_h_next_2 * b_d_gru_W_ih_x_plus_b_ih_product_3[:, None], axis=0
        )
        b_d_gru_h_next_2_sum = (
            b_d_gru_h_next_2_product
            + b_d_gru_h_next_2_product_2
            + tl.sum(b_gru_W_hh_d_gru_h_next_3 * b_d_gru_b_hh_2[:, None], axis=0)
        )
        b_d_gru_h_next_2 = b_gru_z * b_d_gru_h_plus_d_gru_h_next + b_d_gru_h_next_2_sum
        tl.store(p_d_gru_W_ih_x_plus_b_ih_product, b_d_gru_W_ih_x_plus_b_ih_product)
        tl.store(p_d_gru_W_ih_x_plus_b_ih_product_2, b_d_gru_W_ih_x_plus_b_ih_product_2)
        tl.store(p_d_gru_W_ih_x_plus_b_ih_product_3, b_d_gru_W_ih_x_plus_b_ih_product_3)
        tl.store(p_d_gru_W_ih_x_plus_b_ih_product_2_2, b_d_gru_W_ih_x_plus_b_ih_product_2)
        tl.store(p_d_gru_W_ih_x_plus_b_ih_product_3_2, b_d_gru_W_ih_x_plus_b_ih_product_3)
        tl.store(p_d_gru_b_hh_2, b_d_gru_b_hh_2)
        b_d_gru_h = b_d_gru_h_next_2
        p_gru_xn -= 3 * H
        p_gru_h -= H
        p_d_gru_h_next -= H
        p_gru_xz_plus_hz -= H
        p_gru_xr_plus_hr -= H
        p_gru_hn -= 3 * H
        p_d_gru_W_ih_x_plus_b_ih_product -= H
        p_d_gru_W_ih_x_plus_b_ih_product_2 -= H
        p_d_gru_W_ih_x_plus_b_ih_product_3 -= H
        p_d_gru_W_ih_x_plus_b_ih_product_2_2 -= 3 * H
        p_d_gru_W_ih_x_plus_b_ih_product_3_2 -= 3 * H
        p_d_gru_b_hh_2 -= 3 * H
    tl.store(d_gru_h_T + i_b * H + o_h, b_d_gru_h)


d_gru_h_constants = {"H": H, "BH": 64, "num_warps": 8}


def d_gru_h_launch(
    gru_W_ih_x_plus_b_ih,
    gru_h,
    d_gru_h_next,
    gru_xz_plus_hz,
    gru_xr_plus_hr,
    gru_W_hh_h_plus_b_hh,
    gru_W_hh,
    d_gru_h,
):
    """Run `d_gru_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = gru_W_ih_x_plus_b_ih.shape[:2]
    d_gru_W_ih_x_plus_b_ih_product = d_gru_h.new_empty((batch, length, H), dtype=torch.float32)
    d_gru_W_ih_x_plus_b_ih_product_2 = d_gru_h.new_empty((batch, length, H), dtype=torch.float32)
    d_gru_W_ih_x_plus_b_ih_product_3 = d_gru_h.new_empty((batch, length, H), dtype=torch.float32)
    d_gru_b_hh = d_gru_h.new_empty((batch, length, 3 * H), dtype=torch.float32)
    d_gru_h_T = torch.empty_like(d_gru_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_gru_h):
        d_gru_h_kernel[grid](
            gru_W_ih_x_plus_b_ih.contiguous(),
            gru_h.contiguous(),
            d_gru_h_next.contiguous(),
            gru_xz_plus_hz.contiguous(),
            gru_xr_plus_hr.contiguous(),
            gru_W_hh_h_plus_b_hh.contiguous(),
            gru_W_hh.contiguous(),
            d_gru_h.contiguous(),
            d_gru_W_ih_x_plus_b_ih_product,
            d_gru_W_ih_x_plus_b_ih_product_2,
            d_gru_W_ih_x_plus_b_ih_product_3,
            d_gru_b_hh,
            d_gru_h_T,
            length,
            **d_gru_h_constants,
        )
    return (
        d_gru_W_ih_x_plus_b_ih_product,
        d_gru_W_ih_x_plus_b_ih_product_2,
        d_gru_W_ih_x_plus_b_ih_product_3,
        d_gru_b_hh,
        d_gru_h_T,
    )


@Operator
def d_gru_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_gru_h_launch(*tensors))
    return separate(d_gru_h_plain(*tensors), tensors)


@d_gru_h_operator.register_fake
def _(tensors, length, every):
    d_gru_h = tensors[-1]
    batch = d_gru_h.shape[0]
    return [
        d_gru_h.new_empty((batch, length, H), dtype=torch.float32),
        d_gru_h.new_empty((batch, length, H), dtype=torch.float32),
        d_gru_h.new_empty((batch, length, H), dtype=torch.float32),
        d_gru_h.new_empty((batch, length, 3 * H), dtype=torch.float32),
        torch.empty_like(d_gru_h, memory_format=torch.contiguous_format),
    ]


d_gru_h_operator.register_vmap(folded(d_gru_h_operator, (True, True, True, True, True, True, False, True)))


def d_gru_h_loop(
    gru_W_ih_x_plus_b_ih,
    gru_h,
    d_gru_h_next,
    gru_xz_plus_hz,
    gru_xr_plus_hr,
    gru_W_hh_h_plus_b_hh,
    gru_W_hh,
    d_gru_h,
):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_gru_h_operator(
        [
            gru_W_ih_x_plus_b_ih,
            gru_h,
            d_gru_h_next,
            gru_xz_plus_hz,
            gru_xr_plus_hr,
            gru_W_hh_h_plus_b_hh,
            gru_W_hh,
            d_gru_h,
        ],
        gru_W_ih_x_plus_b_ih.shape[1],
        0,
    )


def d_gru_h_plain(
    gru_W_ih_x_plus_b_ih,
    gru_h,
    d_gru_h_next,
    gru_xz_plus_hz,
    gru_xr_plus_hr,
    gru_W_hh_h_plus_b_hh,
    gru_W_hh,
    d_gru_h,
):
    """d_gru.h over time in plain PyTorch, from the end to the start: d_gru_W_ih_x_plus_b_ih_product,
    d_gru_W_ih_x_plus_b_ih_product_2, d_gru_W_ih_x_plus_b_ih_product_3, d_gru_b_hh of every position,
    then the last states.
    """
    all_d_gru_W_ih_x_plus_b_ih_product = []
    all_d_gru_W_ih_x_plus_b_ih_product_2 = []
    all_d_gru_W_ih_x_plus_b_ih_product_3 = []
    all_d_gru_b_hh = []
    for gru_W_ih_x_plus_b_ih, gru_h, d_gru_h_next, gru_xz_plus_hz, gru_xr_plus_hr, gru_W_hh_h_plus_b_hh in positions(
        gru_W_ih_x_plus_b_ih,
        gru_h,
        d_gru_h_next,
        gru_xz_plus_hz,
        gru_xr_plus_hr,
        gru_W_hh_h_plus_b_hh,
        reverse=True,
    ):
        # std/gru.lsrl:13  xr, xz, xn = split(W_ih @ x + b_ih, 3)
        gru_xn = gru_W_ih_x_plus_b_ih[..., 2 * H :]  # [B, H]
        # std/gru.lsrl:14  hr, hz, hn = split(W_hh @ h + b_hh, 3)
        gru_hn = gru_W_hh_h_plus_b_hh[..., 2 * H :]  # [B, H]
        # std/gru.lsrl:15  r = sigmoid(xr + hr)
        gru_r = torch.sigmoid(gru_xr_plus_hr)
        # std/gru.lsrl:16  z = sigmoid(xz + hz)
        gru_z = torch.sigmoid(gru_xz_plus_hz)
        # std/gru.lsrl:17  n = tanh(xn + r * hn)
        gru_n = torch.tanh(gru_xn + gru_r * gru_hn)
        d_gru_h_plus_d_gru_h_next = d_gru_h + d_gru_h_next
        d_gru_W_ih_x_plus_b_ih_product = (1 - gru_z) * d_gru_h_plus_d_gru_h_next * (1.0 - gru_n * gru_n)
        d_gru_W_ih_x_plus_b_ih_product_2 = d_gru_W_ih_x_plus_b_ih_product * gru_hn * (gru_r * (1.0 - gru_r))
        d_gru_W_ih_x_plus_b_ih_product_3 = (
            (d_gru_h_plus_d_gru_h_next * gru_h - d_gru_h_plus_d_gru_h_next * gru_n)
            * (gru_z * (1.0 - gru_z))
        )
        d_gru_b_hh = torch.cat(
            [
                d_gru_W_ih_x_plus_b_ih_product_2,
                d_gru_W_ih_x_plus_b_ih_product_3,
                gru_r * d_gru_W_ih_x_plus_b_ih_product,
            ],
            -1,
        )
        d_gru_h_next_2 = gru_z * d_gru_h_plus_d_gru_h_next + d_gru_b_hh @ gru_W_hh
        all_d_gru_W_ih_x_plus_b_ih_product.append(d_gru_W_ih_x_plus_b_ih_product)
        all_d_gru_W_ih_x_plus_b_ih_product_2.append(d_gru_W_ih_x_plus_b_ih_product_2)
        all_d_gru_W_ih_x_plus_b_ih_product_3.append(d_gru_W_ih_x_plus_b_ih_product_3)
        all_d_gru_b_hh.append(d_gru_b_hh)
        d_gru_h = d_gru_h_next_2
    return (
        over_time(all_d_gru_W_ih_x_plus_b_ih_product, (H,), torch.float32, d_gru_h, reverse=True),
        over_time(all_d_gru_W_ih_x_plus_b_ih_product_2, (H,), torch.float32, d_gru_h, reverse=True),
        over_time(all_d_gru_W_ih_x_plus_b_ih_product_3, (H,), torch.float32, d_gru_h, reverse=True),
        over_time(all_d_gru_b_hh, (3 * H,), torch.float32, d_gru_h, reverse=True),
        d_gru_h,
    )


def gru_h_adjoint(gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h, d_gru_h_next, d_gru_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # std/gru.lsrl:13  xr, xz, xn = split(W_ih @ x + b_ih, 3)
    gru_xz = gru_W_ih_x_plus_b_ih[..., H : 2 * H]  # [B, T, H]
    gru_xr = gru_W_ih_x_plus_b_ih[..., :H]  # [B, T, H]
    # std/gru.lsrl:14  hr, hz, hn = split(W_hh @ h + b_hh, 3)
    gru_W_hh_h_plus_b_hh = gru_h @ gru_W_hh.mT + gru_b_hh
    gru_hz = gru_W_hh_h_plus_b_hh[..., H : 2 * H]  # [B, T, H]
    gru_hr = gru_W_hh_h_plus_b_hh[..., :H]  # [B, T, H]
    # std/gru.lsrl:15  r = sigmoid(xr + hr)
    gru_xr_plus_hr = gru_xr + gru_hr
    # std/gru.lsrl:16  z = sigmoid(xz + hz)
    gru_xz_plus_hz = gru_xz + gru_hz

    (
        d_gru_W_ih_x_plus_b_ih_product,
        d_gru_W_ih_x_plus_b_ih_product_2,
        d_gru_W_ih_x_plus_b_ih_product_3,
        d_gru_b_hh,
        d_gru_h_last_2,
    ) = d_gru_h_loop(
        gru_W_ih_x_plus_b_ih,
        gru_h,
        d_gru_h_next,
        gru_xz_plus_hz,
        gru_xr_plus_hr,
        gru_W_hh_h_plus_b_hh,
        gru_W_hh,
        d_gru_h_last,
    )

    d_gru_W_ih_x_plus_b_ih = torch.cat(
        [d_gru_W_ih_x_plus_b_ih_product_2, d_gru_W_ih_x_plus_b_ih_product_3, d_gru_W_ih_x_plus_b_ih_product],
        -1,
    )
    d_gru_b_hh_sum = d_gru_b_hh.sum((0, 1))
    d_gru_b_hh_gru_h_sum = torch.einsum("btg,bth->gh", d_gru_b_hh, gru_h)

    return d_gru_W_ih_x_plus_b_ih, d_gru_b_hh_gru_h_sum, d_gru_b_hh_sum, d_gru_h_last_2


class GruHDerivative(torch.autograd.Function):
    """`gru_h_adjoint`, whose own derivative goes through `gru_h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        length,
        every,
        gru_W_ih_x_plus_b_ih,
        gru_W_hh,
        gru_b_hh,
        gru_h,
        gru_h_saved,
        d_gru_h_next,
        d_gru_h_last,
    ):
        if not every:
            every = 1
            *_, gru_h_saved = gru_h_operator([gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h], length, every)
        return gru_h_adjoint(
            gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h_saved, d_gru_h_next, d_gru_h_last
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:4], *tensors[5:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(gru_h_plain, tensors[:4], tensors[4:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:4], None, *found[4:]


class GruHLoop(torch.autograd.Function):
    """`gru_h_operator`, whose derivative is `GruHDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h):
        return tuple(gru_h_operator([gru_W_ih_x_plus_b_ih, gru_W_hh, gru_b_hh, gru_h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        gru_h = tensors[3]
        batch, length = gru_h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], gru_h, (batch, length, H), torch.float32),
            filled(cotangents[1], gru_h, gru_h.shape, gru_h.dtype),
        ]
        return None, None, *GruHDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


@triton.jit(do_not_specialize=["T"])
def mingru_h_kernel(
    x_products,  # [B, T, 5*H]
    mingru_bz,  # [H], the same at all positions
    mingru_bh,  # [H], the same at all positions
    mingru_h_0,  # [B, H], at the start
    mingru_h_next,  # [B, T, H], written
    mingru_h_T,  # [B, H], at the end, written
    mingru_h_P,  # [B, P, H], now and then, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_mingru_bz = tl.load(mingru_bz + o_h)  # [BH]
    b_mingru_bh = tl.load(mingru_bh + o_h)  # [BH]
    b_mingru_h = tl.load(mingru_h_0 + i_b * H + o_h)  # [BH]

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_mingru_h_saved = mingru_h_P + (i_b * P + P - 1) * H + o_h
    p_x_products_mingru_z = x_products + (i_b * T + T - 1) * (5 * H) + o_h + 3 * H
    p_x_products_mingru_c = x_products + (i_b * T + T - 1) * (5 * H) + o_h + 4 * H
    p_mingru_h_next = mingru_h_next + (i_b * T + T - 1) * H + o_h
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_mingru_h_saved, b_mingru_h)
                p_mingru_h_saved -= H
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


def mingru_h_launch(x_products, mingru_bz, mingru_bh, mingru_h, every=0):
    """Run `mingru_h_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = x_products.shape[:2]
    mingru_h_next = mingru_h.new_empty((batch, length, H), dtype=torch.float32)
    mingru_h_T = torch.empty_like(mingru_h, memory_format=torch.contiguous_format)
    mingru_h_P = mingru_h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    grid = (batch,)
    with torch.cuda.device_of(mingru_h):
        mingru_h_kernel[grid](
            x_products.contiguous(),
            mingru_bz.contiguous(),
            mingru_bh.contiguous(),
            mingru_h.contiguous(),
            mingru_h_next,
            mingru_h_T,
            mingru_h_P,
            length,
            EVERY=every,
            **mingru_h_constants,
        )
    return mingru_h_next, mingru_h_T, mingru_h_P


@Operator
def mingru_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(mingru_h_launch(*tensors, every))
    return separate(mingru_h_plain(*tensors, every), tensors)


@mingru_h_operator.register_fake
def _(tensors, length, every):
    mingru_h = tensors[-1]
    batch = mingru_h.shape[0]
    return [
        mingru_h.new_empty((batch, length, H), dtype=torch.float32),
        torch.empty_like(mingru_h, memory_format=torch.contiguous_format),
        mingru_h.new_empty((batch, saves(length, every), H), dtype=torch.float32),
    ]


mingru_h_operator.register_vmap(folded(mingru_h_operator, (True, False, False, True)))


def mingru_h_loop(x_products, mingru_bz, mingru_bh, mingru_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(x_products, mingru_bz, mingru_bh, mingru_h) else 0
    return MingruHLoop.apply(x_products.shape[1], every, x_products, mingru_bz, mingru_bh, mingru_h)[:2]


def mingru_h_plain(x_products, mingru_bz, mingru_bh, mingru_h, every=0):
    """mingru.h over time in plain PyTorch, from the end to the start: mingru_h_next of every position,
    then the last states, then the arriving states of positions `every` apart.
    """
    all_mingru_h_next = []
    mingru_h_saved = []
    for at, (x_products,) in enumerate(positions(x_products, reverse=True)):
        if every and at % every == 0:
            mingru_h_saved.append(mingru_h)
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        mingru_z = torch.sigmoid(x_products[..., 3 * H : 4 * H] + mingru_bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        mingru_c = x_products[..., 4 * H :] + mingru_bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        mingru_h_next = (1 - mingru_z) * mingru_h + mingru_z * mingru_c
        all_mingru_h_next.append(mingru_h_next)
        mingru_h = mingru_h_next
    return (
        over_time(all_mingru_h_next, (H,), torch.float32, mingru_h, reverse=True),
        mingru_h,
        over_time(mingru_h_saved, (H,), torch.float32, mingru_h, reverse=True),
    )


@triton.jit(do_not_specialize=["T"])
def d_mingru_h_kernel(
    x_products,  # [B, T, 5*H]
    d_mingru_h_next,  # [B, T, H]
    mingru_bz,  # [H], the same at all positions
    d_mingru_h_0,  # [B, H], at the start
    d_mingru_bz_sum,  # [B, T, H], written
    d_mingru_h_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_mingru_bz = tl.load(mingru_bz + o_h)  # [BH]
    b_d_mingru_h = tl.load(d_mingru_h_0 + i_b * H + o_h)  # [BH]

    p_x_products_mingru_z = x_products + i_b * T * (5 * H) + o_h + 3 * H
    p_d_mingru_h_next = d_mingru_h_next + i_b * T * H + o_h
    p_d_mingru_bz_sum = d_mingru_bz_sum + i_b * T * H + o_h
    for _ in range(T):
        b_x_products_mingru_z = tl.load(p_x_products_mingru_z)  # [BH]
        b_d_mingru_h_next = tl.load(p_d_mingru_h_next)  # [BH]
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        b_mingru_z = tl.sigmoid(b_x_products_mingru_z + b_mingru_bz)
        b_d_mingru_bz_sum = b_d_mingru_h + b_d_mingru_h_next
        b_d_mingru_h_next_2 = (1 - b_mingru_z) * b_d_mingru_bz_sum
        tl.store(p_d_mingru_bz_sum, b_d_mingru_bz_sum)
        b_d_mingru_h = b_d_mingru_h_next_2
        p_x_products_mingru_z += 5 * H
        p_d_mingru_h_next += H
        p_d_mingru_bz_sum += H
    tl.store(d_mingru_h_T + i_b * H + o_h, b_d_mingru_h)


d_mingru_h_constants = {"H": H, "BH": 64, "num_warps": 1}


def d_mingru_h_launch(x_products, d_mingru_h_next, mingru_bz, d_mingru_h):
    """Run `d_mingru_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = x_products.shape[:2]
    d_mingru_bz_sum = d_mingru_h.new_empty((batch, length, H), dtype=torch.float32)
    d_mingru_h_T = torch.empty_like(d_mingru_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_mingru_h):
        d_mingru_h_kernel[grid](
            x_products.contiguous(),
            d_mingru_h_next.contiguous(),
            mingru_bz.contiguous(),
            d_mingru_h.contiguous(),
            d_mingru_bz_sum,
            d_mingru_h_T,
            length,
            **d_mingru_h_constants,
        )
    return d_mingru_bz_sum, d_mingru_h_T


@Operator
def d_mingru_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_mingru_h_launch(*tensors))
    return separate(d_mingru_h_plain(*tensors), tensors)


@d_mingru_h_operator.register_fake
def _(tensors, length, every):
    d_mingru_h = tensors[-1]
    batch = d_mingru_h.shape[0]
    return [
        d_mingru_h.new_empty((batch, length, H), dtype=torch.float32),
        torch.empty_like(d_mingru_h, memory_format=torch.contiguous_format),
    ]


d_mingru_h_operator.register_vmap(folded(d_mingru_h_operator, (True, True, False, True)))


def d_mingru_h_loop(x_products, d_mingru_h_next, mingru_bz, d_mingru_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_mingru_h_operator([x_products, d_mingru_h_next, mingru_bz, d_mingru_h], x_products.shape[1], 0)


def d_mingru_h_plain(x_products, d_mingru_h_next, mingru_bz, d_mingru_h):
    """d_mingru.h over time in plain PyTorch: d_mingru_bz_sum of every position, then the last states."""
    all_d_mingru_bz_sum = []
    for x_products, d_mingru_h_next in positions(x_products, d_mingru_h_next):
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        mingru_z = torch.sigmoid(x_products[..., 3 * H : 4 * H] + mingru_bz)
        d_mingru_bz_sum = d_mingru_h + d_mingru_h_next
        d_mingru_h_next_2 = (1 - mingru_z) * d_mingru_bz_sum
        all_d_mingru_bz_sum.append(d_mingru_bz_sum)
        d_mingru_h = d_mingru_h_next_2
    return over_time(all_d_mingru_bz_sum, (H,), torch.float32, d_mingru_h), d_mingru_h


def mingru_h_adjoint(x_products, mingru_bz, mingru_bh, mingru_h, d_mingru_h_next, d_mingru_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""
    batch = x_products.shape[0]
    length = x_products.shape[1]
    device = x_products.device

    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    x_products_part = x_products[..., 3 * H : 4 * H]  # [B, T, H]

    d_mingru_bz_sum, d_mingru_h_last_2 = d_mingru_h_loop(
        x_products, d_mingru_h_next, mingru_bz, d_mingru_h_last
    )

    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    mingru_z = torch.sigmoid(x_products_part + mingru_bz)
    # std/mingru.lsrl:10  c = Wh @ x + bh
    mingru_c = x_products[..., 4 * H :] + mingru_bh
    d_mingru_bz = (d_mingru_bz_sum * mingru_c - d_mingru_bz_sum * mingru_h) * (mingru_z * (1.0 - mingru_z))
    d_mingru_bh = mingru_z * d_mingru_bz_sum
    d_x_products = torch.cat(
        [
            torch.zeros((3 * H,), dtype=torch.float32, device=device).expand((batch, length, 3 * H)),
            d_mingru_bz,
            d_mingru_bh,
        ],
        -1,
    )
    d_mingru_bz_sum_2 = d_mingru_bz.sum((0, 1))
    d_mingru_bh_sum = d_mingru_bh.sum((0, 1))

    return d_x_products, d_mingru_bz_sum_2, d_mingru_bh_sum, d_mingru_h_last_2


class MingruHDerivative(torch.autograd.Function):
    """`mingru_h_adjoint`, whose own derivative goes through `mingru_h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        length,
        every,
        x_products,
        mingru_bz,
        mingru_bh,
        mingru_h,
        mingru_h_saved,
        d_mingru_h_next,
        d_mingru_h_last,
    ):
        if not every:
            every = 1
            *_, mingru_h_saved = mingru_h_operator(
                [x_products, mingru_bz, mingru_bh, mingru_h], length, every
            )
        return mingru_h_adjoint(
            x_products, mingru_bz, mingru_bh, mingru_h_saved, d_mingru_h_next, d_mingru_h_last
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:4], *tensors[5:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(mingru_h_plain, tensors[:4], tensors[4:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:4], None, *found[4:]


class MingruHLoop(torch.autograd.Function):
    """`mingru_h_operator`, whose derivative is `MingruHDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, x_products, mingru_bz, mingru_bh, mingru_h):
        return tuple(mingru_h_operator([x_products, mingru_bz, mingru_bh, mingru_h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        mingru_h = tensors[3]
        batch, length = mingru_h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], mingru_h, (batch, length, H), torch.float32),
            filled(cotangents[1], mingru_h, mingru_h.shape, mingru_h.dtype),
        ]
        return None, None, *MingruHDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


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
    """`apply` with parameters of their own."""

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
            "gru_h_P": "*fp32",
            "T": "i32",
        },
        gru_h_constants | {"EVERY": 1},
    ),
    (
        d_gru_h_kernel,
        {
            "gru_W_ih_x_plus_b_ih": "*fp32",
            "gru_h": "*fp32",
            "d_gru_h_next": "*fp32",
            "gru_xz_plus_hz": "*fp32",
            "gru_xr_plus_hr": "*fp32",
            "gru_W_hh_h_plus_b_hh": "*fp32",
            "gru_W_hh": "*fp32",
            "d_gru_h_0": "*fp32",
            "d_gru_W_ih_x_plus_b_ih_product": "*fp32",
            "d_gru_W_ih_x_plus_b_ih_product_2": "*fp32",
            "d_gru_W_ih_x_plus_b_ih_product_3": "*fp32",
            "d_gru_b_hh": "*fp32",
            "d_gru_h_T": "*fp32",
            "T": "i32",
        },
        d_gru_h_constants,
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
            "mingru_h_P": "*fp32",
            "T": "i32",
        },
        mingru_h_constants | {"EVERY": 1},
    ),
    (
        d_mingru_h_kernel,
        {
            "x_products": "*fp32",
            "d_mingru_h_next": "*fp32",
            "mingru_bz": "*fp32",
            "d_mingru_h_0": "*fp32",
            "d_mingru_bz_sum": "*fp32",
            "d_mingru_h_T": "*fp32",
            "T": "i32",
        },
        d_mingru_h_constants,
    ),
)
