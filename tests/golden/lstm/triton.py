"""lstm: Long short-term memory with forget gate (Gers et al., 2000), with the parameters of torch.nn.LSTM.

Arrays, by name:
    inputs   x [B, T, D]
    params   W_ih [4*H, D]; W_hh [4*H, H]; b_ih, b_hh [4*H]
    state    h, c [B, H]
    outputs  h [B, T, H]

Schedule of h, c: one Triton kernel over time, batch programs of 8 warps.
Backward pass of h, c: one Triton kernel over time, batch programs of 8 warps, from h, c kept at every
    position.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/lstm by
    lsrl compile std/lstm --target triton
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

D, H = 32, 64

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
OPERATORS = own_namespace("lsrl_772514b8bd1d")


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
def h_c_kernel(
    W_ih_x,  # [B, T, 4*H]
    W_hh,  # [4*H, H], the same at all positions
    b_ih,  # [4*H], the same at all positions
    b_hh,  # [4*H], the same at all positions
    h_0,  # [B, H], at the start
    c_0,  # [B, H], at the start
    h_next,  # [B, T, H], written
    h_T,  # [B, H], at the end, written
    c_T,  # [B, H], at the end, written
    h_P,  # [B, P, H], now and then, written
    c_P,  # [B, P, H], now and then, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_W_hh_i = tl.load(W_hh + o_h[:, None] * H + o_h[None, :])  # [BH, BH]
    b_W_hh_f = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + H ** 2)  # [BH, BH]
    b_W_hh_g = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + 2 * H ** 2)  # [BH, BH]
    b_W_hh_o = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + 3 * H ** 2)  # [BH, BH]
    b_b_ih_i = tl.load(b_ih + o_h)  # [BH]
    b_b_ih_f = tl.load(b_ih + o_h + H)  # [BH]
    b_b_ih_g = tl.load(b_ih + o_h + 2 * H)  # [BH]
    b_b_ih_o = tl.load(b_ih + o_h + 3 * H)  # [BH]
    b_b_hh_i = tl.load(b_hh + o_h)  # [BH]
    b_b_hh_f = tl.load(b_hh + o_h + H)  # [BH]
    b_b_hh_g = tl.load(b_hh + o_h + 2 * H)  # [BH]
    b_b_hh_o = tl.load(b_hh + o_h + 3 * H)  # [BH]
    b_h = tl.load(h_0 + i_b * H + o_h)  # [BH]
    b_c = tl.load(c_0 + i_b * H + o_h)  # [BH]

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_h_saved = h_P + i_b * P * H + o_h
        p_c_saved = c_P + i_b * P * H + o_h
    p_W_ih_x_i = W_ih_x + i_b * T * (4 * H) + o_h
    p_W_ih_x_f = W_ih_x + i_b * T * (4 * H) + o_h + H
    p_W_ih_x_g = W_ih_x + i_b * T * (4 * H) + o_h + 2 * H
    p_W_ih_x_o = W_ih_x + i_b * T * (4 * H) + o_h + 3 * H
    p_h_next = h_next + i_b * T * H + o_h
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_h_saved, b_h)
                p_h_saved += H
                tl.store(p_c_saved, b_c)
                p_c_saved += H
        b_W_ih_x_i = tl.load(p_W_ih_x_i)  # [BH]
        b_W_ih_x_f = tl.load(p_W_ih_x_f)  # [BH]
        b_W_ih_x_g = tl.load(p_W_ih_x_g)  # [BH]
        b_W_ih_x_o = tl.load(p_W_ih_x_o)  # [BH]
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        b_o = b_W_ih_x_o + b_b_ih_o + tl.sum(b_W_hh_o * b_h[None, :], axis=1) + b_b_hh_o
        b_f = b_W_ih_x_f + b_b_ih_f + tl.sum(b_W_hh_f * b_h[None, :], axis=1) + b_b_hh_f
        b_i = b_W_ih_x_i + b_b_ih_i + tl.sum(b_W_hh_i * b_h[None, :], axis=1) + b_b_hh_i
        b_g = b_W_ih_x_g + b_b_ih_g + tl.sum(b_W_hh_g * b_h[None, :], axis=1) + b_b_hh_g
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        b_c_next = tl.sigmoid(b_f) * b_c + tl.sigmoid(b_i) * tanh(b_g)
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        b_h_next = tl.sigmoid(b_o) * tanh(b_c_next)
        tl.store(p_h_next, b_h_next)
        b_h, b_c = b_h_next, b_c_next
        p_W_ih_x_i += 4 * H
        p_W_ih_x_f += 4 * H
        p_W_ih_x_g += 4 * H
        p_W_ih_x_o += 4 * H
        p_h_next += H
    tl.store(h_T + i_b * H + o_h, b_h)
    tl.store(c_T + i_b * H + o_h, b_c)


h_c_constants = {"H": H, "BH": 64, "num_warps": 8}


def h_c_launch(W_ih_x, W_hh, b_ih, b_hh, h, c, every=0):
    """Run `h_c_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = W_ih_x.shape[:2]
    h_next = h.new_empty((batch, length, H), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    c_T = torch.empty_like(c, memory_format=torch.contiguous_format)
    h_P = h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    c_P = h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_c_kernel[grid](
            W_ih_x.contiguous(),
            W_hh.contiguous(),
            b_ih.contiguous(),
            b_hh.contiguous(),
            h.contiguous(),
            c.contiguous(),
            h_next,
            h_T,
            c_T,
            h_P,
            c_P,
            length,
            EVERY=every,
            **h_c_constants,
        )
    return h_next, h_T, c_T, h_P, c_P


@Operator
def h_c_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
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


@triton.jit(do_not_specialize=["T"])
def d_hc_kernel(
    c,  # [B, T, H]
    d_h_next,  # [B, T, H]
    o_sum,  # [B, T, 4*H]
    W_hh,  # [4*H, H], the same at all positions
    d_h_0,  # [B, H], at the start
    d_c_0,  # [B, H], at the start
    d_W_ih_x,  # [B, T, 4*H], written
    d_h_T,  # [B, H], at the end, written
    d_c_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_W_hh_d_h_next = tl.load(W_hh + o_h[:, None] * H + o_h[None, :])  # [BH, BH]
    b_W_hh_d_h_next_2 = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + H ** 2)  # [BH, BH]
    b_W_hh_d_h_next_3 = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + 2 * H ** 2)  # [BH, BH]
    b_W_hh_d_h_next_4 = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + 3 * H ** 2)  # [BH, BH]
    b_d_h = tl.load(d_h_0 + i_b * H + o_h)  # [BH]
    b_d_c = tl.load(d_c_0 + i_b * H + o_h)  # [BH]

    p_c = c + (i_b * T + T - 1) * H + o_h
    p_d_h_next = d_h_next + (i_b * T + T - 1) * H + o_h
    p_i = o_sum + (i_b * T + T - 1) * (4 * H) + o_h
    p_f = o_sum + (i_b * T + T - 1) * (4 * H) + o_h + H
    p_g = o_sum + (i_b * T + T - 1) * (4 * H) + o_h + 2 * H
    p_o = o_sum + (i_b * T + T - 1) * (4 * H) + o_h + 3 * H
    p_d_W_ih_x_0 = d_W_ih_x + (i_b * T + T - 1) * (4 * H) + o_h
    p_d_W_ih_x_1 = d_W_ih_x + (i_b * T + T - 1) * (4 * H) + o_h + H
    p_d_W_ih_x_2 = d_W_ih_x + (i_b * T + T - 1) * (4 * H) + o_h + 2 * H
    p_d_W_ih_x_3 = d_W_ih_x + (i_b * T + T - 1) * (4 * H) + o_h + 3 * H
    for _ in range(T):
        b_c = tl.load(p_c)  # [BH]
        b_d_h_next = tl.load(p_d_h_next)  # [BH]
        b_i = tl.load(p_i)  # [BH]
        b_f = tl.load(p_f)  # [BH]
        b_g = tl.load(p_g)  # [BH]
        b_o = tl.load(p_o)  # [BH]
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        b_sigmoid_f = tl.sigmoid(b_f)
        b_sigmoid_i = tl.sigmoid(b_i)
        b_tanh_g = tanh(b_g)
        b_c_next = b_sigmoid_f * b_c + b_sigmoid_i * b_tanh_g
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        b_sigmoid_o = tl.sigmoid(b_o)
        b_d_h_plus_d_h_next = b_d_h + b_d_h_next
        b_tanh_c_next = tanh(b_c_next)
        b_d_W_ih_x_0_product = b_sigmoid_o * b_d_h_plus_d_h_next * (1.0 - b_tanh_c_next * b_tanh_c_next)
        b_d_c_plus_d_W_ih_x_0_product = b_d_c + b_d_W_ih_x_0_product
        b_d_W_ih_x_0 = b_d_c_plus_d_W_ih_x_0_product * b_tanh_g * (b_sigmoid_i * (1.0 - b_sigmoid_i))
        b_d_W_ih_x_1 = b_d_c_plus_d_W_ih_x_0_product * b_c * (b_sigmoid_f * (1.0 - b_sigmoid_f))
        b_d_W_ih_x_2 = b_sigmoid_i * b_d_c_plus_d_W_ih_x_0_product * (1.0 - b_tanh_g * b_tanh_g)
        b_d_W_ih_x_3 = b_d_h_plus_d_h_next * b_tanh_c_next * (b_sigmoid_o * (1.0 - b_sigmoid_o))
        b_d_h_next_2_sum = (
            tl.sum(b_W_hh_d_h_next * b_d_W_ih_x_0[:, None], axis=0)
            + tl.sum(b_W_hh_d_h_next_2 * b_d_W_ih_x_1[:, None], axis=0)
        )
        b_d_h_next_2_sum_2 = b_d_h_next_2_sum + tl.sum(b_W_hh_d_h_next_3 * b_d_W_ih_x_2[:, None], axis=0)
        b_d_h_next_2 = b_d_h_next_2_sum_2 + tl.sum(b_W_hh_d_h_next_4 * b_d_W_ih_x_3[:, None], axis=0)
        b_d_c_next = b_sigmoid_f * b_d_c_plus_d_W_ih_x_0_product
        tl.store(p_d_W_ih_x_0, b_d_W_ih_x_0)
        tl.store(p_d_W_ih_x_1, b_d_W_ih_x_1)
        tl.store(p_d_W_ih_x_2, b_d_W_ih_x_2)
        tl.store(p_d_W_ih_x_3, b_d_W_ih_x_3)
        b_d_h, b_d_c = b_d_h_next_2, b_d_c_next
        p_c -= H
        p_d_h_next -= H
        p_i -= 4 * H
        p_f -= 4 * H
        p_g -= 4 * H
        p_o -= 4 * H
        p_d_W_ih_x_0 -= 4 * H
        p_d_W_ih_x_1 -= 4 * H
        p_d_W_ih_x_2 -= 4 * H
        p_d_W_ih_x_3 -= 4 * H
    tl.store(d_h_T + i_b * H + o_h, b_d_h)
    tl.store(d_c_T + i_b * H + o_h, b_d_c)


d_hc_constants = {"H": H, "BH": 64, "num_warps": 8}


def d_hc_launch(c, d_h_next, o_sum, W_hh, d_h, d_c):
    """Run `d_hc_kernel`: what it keeps of every position, then the last states."""
    batch, length = c.shape[:2]
    d_W_ih_x = d_h.new_empty((batch, length, 4 * H), dtype=torch.float32)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    d_c_T = torch.empty_like(d_c, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_h):
        d_hc_kernel[grid](
            c.contiguous(),
            d_h_next.contiguous(),
            o_sum.contiguous(),
            W_hh.contiguous(),
            d_h.contiguous(),
            d_c.contiguous(),
            d_W_ih_x,
            d_h_T,
            d_c_T,
            length,
            **d_hc_constants,
        )
    return d_W_ih_x, d_h_T, d_c_T


@Operator
def d_hc_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
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


d_hc_operator.register_vmap(folded(d_hc_operator, (True, True, True, False, True, True)))


def d_hc_loop(c, d_h_next, o_sum, W_hh, d_h, d_c):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_hc_operator([c, d_h_next, o_sum, W_hh, d_h, d_c], c.shape[1], 0)


def d_hc_plain(c, d_h_next, o_sum, W_hh, d_h, d_c):
    """d_h, d_c over time in plain PyTorch, from the end to the start: d_W_ih_x of every position, then the
    last states.
    """
    all_d_W_ih_x = []
    for c, d_h_next, o_sum in positions(c, d_h_next, o_sum, reverse=True):
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        o = o_sum[..., 3 * H :]  # [B, H]
        f = o_sum[..., H : 2 * H]  # [B, H]
        i = o_sum[..., :H]  # [B, H]
        g = o_sum[..., 2 * H : 3 * H]  # [B, H]
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
    o_sum = W_ih_x + b_ih + h @ W_hh.mT + b_hh

    d_W_ih_x, d_h_last_2, d_c_last_2 = d_hc_loop(c, d_h_next, o_sum, W_hh, d_h_last, d_c_last)
    d_W_ih_x_sum = d_W_ih_x.sum((0, 1))
    d_W_ih_x_h_sum = torch.einsum("btg,bth->gh", d_W_ih_x, h)

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
    W_ih_x = x @ W_ih.mT  # [B, T, 4*H]

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
    "h, c": "one Triton kernel over time, batch programs of 8 warps",
}
KERNELS = (
    (
        h_c_kernel,
        {
            "W_ih_x": "*fp32",
            "W_hh": "*fp32",
            "b_ih": "*fp32",
            "b_hh": "*fp32",
            "h_0": "*fp32",
            "c_0": "*fp32",
            "h_next": "*fp32",
            "h_T": "*fp32",
            "c_T": "*fp32",
            "h_P": "*fp32",
            "c_P": "*fp32",
            "T": "i32",
        },
        h_c_constants | {"EVERY": 1},
    ),
    (
        d_hc_kernel,
        {
            "c": "*fp32",
            "d_h_next": "*fp32",
            "o_sum": "*fp32",
            "W_hh": "*fp32",
            "d_h_0": "*fp32",
            "d_c_0": "*fp32",
            "d_W_ih_x": "*fp32",
            "d_h_T": "*fp32",
            "d_c_T": "*fp32",
            "T": "i32",
        },
        d_hc_constants,
    ),
)
