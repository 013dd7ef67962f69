"""picture

Arrays, by name:
    inputs   frame [B, T, C, Y, X]
    params   K, R [C, C, 3, 3]
    state    h [B, C, Y, X]
    outputs  h [B, T, C, Y, X]; mean [B, T, C, X]

Schedule of h: position by position, products by PyTorch and then a Triton kernel, batch x C x cdiv(Y, 8)
    programs of 1 warp, since `conv` in line 7 has no form in a kernel.
Backward pass of h: position by position, products by PyTorch and then a Triton kernel, batch x C x cdiv(Y,
    8) programs of 1 warp, since `conv_dx` has no form in a kernel, from h kept at every position.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from picture.lsrl by
    lsrl compile picture.lsrl --target triton
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

C, Y, X = 4, 16, 16

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


def conv(x, w, stride, padding, dilation, groups):
    """Correlation of x [..., C, *spatial] with w [O, C / groups, *kernel]; `padding` is low and high for each axis."""
    function = (F.conv1d, F.conv2d, F.conv3d)[w.ndim - 3]
    ends = [end for axis in reversed(range(w.ndim - 2)) for end in padding[2 * axis : 2 * axis + 2]]
    padded, lead = F.pad(x, ends), x.shape[: 1 - w.ndim]
    flat = padded.reshape(math.prod(lead), *padded.shape[len(lead) :])
    found = function(flat, w, None, stride, 0, dilation, groups)
    return found.reshape(*lead, *found.shape[1:])


def conv_dx(g, w, shape, *options):
    """The transpose of `conv` in x [..., *shape]."""
    zeros = g.new_zeros(*g.shape[: 1 - w.ndim], *shape)
    return torch.func.vjp(lambda x: conv(x, w, *options), zeros)[1](g)[0]


def conv_dw(x, g, shape, *options):
    """The transpose of `conv` in w [shape]."""
    return torch.func.vjp(lambda w: conv(x, w, *options), g.new_zeros(shape))[1](g)[0]


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
OPERATORS = own_namespace("lsrl_2323d95f1516")


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
def h_kernel(
    frame_K,  # [B, T, C, Y, X]
    h_R,  # [B, T, C, Y, X]
    h_0,  # [B, C, Y, X], at the start
    h_next,  # [B, T, C, Y, X], written
    h_T,  # [B, C, Y, X], at the end, written
    T,
    C: tl.constexpr,
    Y: tl.constexpr,
    X: tl.constexpr,
    BY: tl.constexpr,
    BX: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_c = tl.program_id(1)
    i_y = tl.program_id(2)
    o_y = i_y * BY + tl.arange(0, BY)
    o_x = tl.arange(0, BX)

    b_h = tl.load(h_0 + i_b * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :])  # [BY, BX]

    p_frame_K = frame_K + i_b * T * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    p_h_R = h_R + i_b * T * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    p_h_next = h_next + i_b * T * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    for _ in range(T):
        b_frame_K = tl.load(p_frame_K)  # [BY, BX]
        b_h_R = tl.load(p_h_R)  # [BY, BX]
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        b_h_next = tanh(b_frame_K + b_h_R)
        tl.store(p_h_next, b_h_next)
        b_h = b_h_next
        p_frame_K += C * X * Y
        p_h_R += C * X * Y
        p_h_next += C * X * Y
    tl.store(h_T + i_b * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :], b_h)


h_constants = {"C": C, "Y": Y, "X": X, "BY": 8, "BX": 16, "num_warps": 1}


def h_launch(frame_K, R, h, every=0):
    """Products, then `h_kernel`, at each position: what is kept of all, then the last states."""
    batch, length = frame_K.shape[:2]
    frame_K = frame_K.transpose(0, 1).contiguous()  # [T, B, ...]
    h = h.clone(memory_format=torch.contiguous_format)
    h_next = h.new_empty((length, batch, C, Y, X), dtype=torch.float32)
    grid = (batch, C, triton.cdiv(Y, 8))
    h_saved = []
    for at, t in enumerate(range(length)):
        if every and at % every == 0:
            h_saved.append(h)
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        h_R = conv(h, R, (1, 1), (1, 1, 1, 1), (1, 1), 1)  # [B, C, Y, X]
        h_T = torch.empty_like(h)
        with torch.cuda.device_of(h):
            h_kernel[grid](frame_K[t], h_R.contiguous(), h, h_next[t], h_T, 1, **h_constants)
        h = h_T
    return h_next.transpose(0, 1), h, over_time(h_saved, (C, Y, X), torch.float32, h)


@Operator
def h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(h_launch(*tensors, every))
    return separate(h_plain(*tensors, every), tensors)


@h_operator.register_fake
def _(tensors, length, every):
    h = tensors[-1]
    batch = h.shape[0]
    return [
        h.new_empty((batch, length, C, Y, X), dtype=torch.float32),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), C, Y, X), dtype=torch.float32),
    ]


h_operator.register_vmap(folded(h_operator, (True, False, True)))


def h_loop(frame_K, R, h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(frame_K, R, h) else 0
    return HLoop.apply(frame_K.shape[1], every, frame_K, R, h)[:2]


def h_plain(frame_K, R, h, every=0):
    """h over time in plain PyTorch: h_next of every position, then the last states, then the arriving
    states of positions `every` apart.
    """
    all_h_next = []
    h_saved = []
    for at, (frame_K,) in enumerate(positions(frame_K)):
        if every and at % every == 0:
            h_saved.append(h)
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        h_next = torch.tanh(frame_K + conv(h, R, (1, 1), (1, 1, 1, 1), (1, 1), 1))
        all_h_next.append(h_next)
        h = h_next
    return (
        over_time(all_h_next, (C, Y, X), torch.float32, h), h, over_time(h_saved, (C, Y, X), torch.float32, h)
    )


@triton.jit(do_not_specialize=["T"])
def d_h_kernel(
    d_h_next,  # [B, T, C, Y, X]
    frame_K_plus_h_R,  # [B, T, C, Y, X]
    d_h_next_2,  # [B, T, C, Y, X]
    d_h_0,  # [B, C, Y, X], at the start
    d_frame_K,  # [B, T, C, Y, X], written
    d_h_T,  # [B, C, Y, X], at the end, written
    T,
    C: tl.constexpr,
    Y: tl.constexpr,
    X: tl.constexpr,
    BY: tl.constexpr,
    BX: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_c = tl.program_id(1)
    i_y = tl.program_id(2)
    o_y = i_y * BY + tl.arange(0, BY)
    o_x = tl.arange(0, BX)

    b_d_h = tl.load(d_h_0 + i_b * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :])

    p_d_h_next = d_h_next + (i_b * T + T - 1) * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    p_frame_K_plus_h_R = (
        frame_K_plus_h_R
        + (i_b * T + T - 1) * (C * X * Y)
        + i_c * (X * Y)
        + o_y[:, None] * X
        + o_x[None, :]
    )
    p_d_h_next_2 = (
        d_h_next_2
        + (i_b * T + T - 1) * (C * X * Y)
        + i_c * (X * Y)
        + o_y[:, None] * X
        + o_x[None, :]
    )
    p_d_frame_K = (
        d_frame_K
        + (i_b * T + T - 1) * (C * X * Y)
        + i_c * (X * Y)
        + o_y[:, None] * X
        + o_x[None, :]
    )
    for _ in range(T):
        b_d_h_next = tl.load(p_d_h_next)  # [BY, BX]
        b_frame_K_plus_h_R = tl.load(p_frame_K_plus_h_R)  # [BY, BX]
        b_d_h_next_2 = tl.load(p_d_h_next_2)  # [BY, BX]
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        b_h_next = tanh(b_frame_K_plus_h_R)
        b_d_frame_K = (b_d_h + b_d_h_next) * (1.0 - b_h_next * b_h_next)
        tl.store(p_d_frame_K, b_d_frame_K)
        b_d_h = b_d_h_next_2
        p_d_h_next -= C * X * Y
        p_frame_K_plus_h_R -= C * X * Y
        p_d_h_next_2 -= C * X * Y
        p_d_frame_K -= C * X * Y
    tl.store(d_h_T + i_b * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :], b_d_h)


d_h_constants = {"C": C, "Y": Y, "X": X, "BY": 8, "BX": 16, "num_warps": 1}


def d_h_launch(d_h_next, frame_K_plus_h_R, R, d_h):
    """Products, then `d_h_kernel`, at each position: what is kept of all, then the last states."""
    batch, length = d_h_next.shape[:2]
    d_h_next = d_h_next.transpose(0, 1).contiguous()  # [T, B, ...]
    frame_K_plus_h_R = frame_K_plus_h_R.transpose(0, 1).contiguous()  # [T, B, ...]
    d_h = d_h.clone(memory_format=torch.contiguous_format)
    d_frame_K_out = d_h.new_empty((length, batch, C, Y, X), dtype=torch.float32)
    grid = (batch, C, triton.cdiv(Y, 8))
    for t in reversed(range(length)):
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        h_next = torch.tanh(frame_K_plus_h_R[t])
        d_h_next_2 = conv_dx(
            (d_h + d_h_next[t]) * (1.0 - h_next * h_next), R, (C, Y, X), (1, 1), (1, 1, 1, 1), (1, 1), 1
        )
        d_h_T = torch.empty_like(d_h)
        with torch.cuda.device_of(d_h):
            d_h_kernel[grid](
                d_h_next[t],
                frame_K_plus_h_R[t],
                d_h_next_2.contiguous(),
                d_h,
                d_frame_K_out[t],
                d_h_T,
                1,
                **d_h_constants,
            )
        d_h = d_h_T
    return d_frame_K_out.transpose(0, 1), d_h


@Operator
def d_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_h_launch(*tensors))
    return separate(d_h_plain(*tensors), tensors)


@d_h_operator.register_fake
def _(tensors, length, every):
    d_h = tensors[-1]
    batch = d_h.shape[0]
    return [
        d_h.new_empty((batch, length, C, Y, X), dtype=torch.float32),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
    ]


d_h_operator.register_vmap(folded(d_h_operator, (True, True, False, True)))


def d_h_loop(d_h_next, frame_K_plus_h_R, R, d_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_operator([d_h_next, frame_K_plus_h_R, R, d_h], d_h_next.shape[1], 0)


def d_h_plain(d_h_next, frame_K_plus_h_R, R, d_h):
    """d_h over time in plain PyTorch, from the end to the start: d_frame_K of every position, then the
    last states.
    """
    all_d_frame_K = []
    for d_h_next, frame_K_plus_h_R in positions(d_h_next, frame_K_plus_h_R, reverse=True):
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        h_next = torch.tanh(frame_K_plus_h_R)
        d_frame_K = (d_h + d_h_next) * (1.0 - h_next * h_next)
        d_h_next_2 = conv_dx(d_frame_K, R, (C, Y, X), (1, 1), (1, 1, 1, 1), (1, 1), 1)  # [B, C, Y, X]
        all_d_frame_K.append(d_frame_K)
        d_h = d_h_next_2
    return over_time(all_d_frame_K, (C, Y, X), torch.float32, d_h, reverse=True), d_h


def h_adjoint(frame_K, R, h, d_h_next, d_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
    frame_K_plus_h_R = frame_K + conv(h, R, (1, 1), (1, 1, 1, 1), (1, 1), 1)

    d_frame_K, d_h_last_2 = d_h_loop(d_h_next, frame_K_plus_h_R, R, d_h_last)
    conv_dw_h_d_frame_K_sum = conv_dw(h, d_frame_K, (C, C, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1)

    return d_frame_K, conv_dw_h_d_frame_K_sum, d_h_last_2


class HDerivative(torch.autograd.Function):
    """`h_adjoint`, whose own derivative goes through `h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, frame_K, R, h, h_saved, d_h_next, d_h_last):
        if not every:
            every = 1
            *_, h_saved = h_operator([frame_K, R, h], length, every)
        return h_adjoint(frame_K, R, h_saved, d_h_next, d_h_last)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:3], *tensors[4:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(h_plain, tensors[:3], tensors[3:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:3], None, *found[3:]


class HLoop(torch.autograd.Function):
    """`h_operator`, whose derivative is `HDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, frame_K, R, h):
        return tuple(h_operator([frame_K, R, h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h = tensors[2]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, C, Y, X), torch.float32),
            filled(cotangents[1], h, h.shape, h.dtype),
        ]
        return None, None, *HDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "K": 0.2 * torch.randn((C, C, 3, 3), generator=generator, dtype=torch.float32),
        "R": 0.2 * torch.randn((C, C, 3, 3), generator=generator, dtype=torch.float32),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, C, Y, X), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["frame"].shape[:2]
    device = inputs["frame"].device
    K = taken(params, "K", (C, C, 3, 3), torch.float32)
    R = taken(params, "R", (C, C, 3, 3), torch.float32)
    frame = taken(inputs, "frame", (batch, length, C, Y, X), torch.float32)
    state = starting(params, state, batch, device)

    # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
    frame_K = conv(frame, K, (1, 1), (1, 1, 1, 1), (1, 1), 1)  # [B, T, C, Y, X]

    h_next, h_last = h_loop(frame_K, R, state["h"])

    # <text>:8  output h', mean = mean(h', axis=1)
    mean = h_next.sum(-2) / Y

    return {"h": h_next, "mean": mean}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Picture(torch.nn.Module):
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
    "h": (
        "position by position, products by PyTorch and then a Triton kernel, batch x C x cdiv(Y, 8) "
        "programs of 1 warp, since `conv` in line 7 has no form in a kernel"
    ),
}
KERNELS = (
    (
        h_kernel,
        {"frame_K": "*fp32", "h_R": "*fp32", "h_0": "*fp32", "h_next": "*fp32", "h_T": "*fp32", "T": "i32"},
        h_constants,
    ),
    (
        d_h_kernel,
        {
            "d_h_next": "*fp32",
            "frame_K_plus_h_R": "*fp32",
            "d_h_next_2": "*fp32",
            "d_h_0": "*fp32",
            "d_frame_K": "*fp32",
            "d_h_T": "*fp32",
            "T": "i32",
        },
        d_h_constants,
    ),
)
