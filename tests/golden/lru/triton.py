"""lru: Linear recurrent unit with a complex diagonal transition (Orvieto et al., 2023, "Resurrecting RNNs").

Arrays, by name:
    inputs   x [B, T, D]
    params   nu, theta, gamma [N]; B [N, D] complex; C [D, N] complex; d [D]
    state    h [B, N] complex
    outputs  y [B, T, D]

Schedule of h: one Triton kernel over time, batch programs of 1 warp.
Backward pass of h: one Triton kernel over time, batch programs of 1 warp, from h kept at every position.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/lru by
    lsrl compile std/lru --target triton
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

D, N = 32, 64

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
OPERATORS = own_namespace("lsrl_163015223548")


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


@triton.jit(do_not_specialize=["T"])
def h_kernel(
    B_x,  # [B, T, N], as pairs of numbers
    a,  # [N], as pairs of numbers, the same at all positions
    exp_gamma,  # [N], the same at all positions
    h_0,  # [B, N], as pairs of numbers, at the start
    h_next,  # [B, T, N], as pairs of numbers, written
    h_T,  # [B, N], as pairs of numbers, at the end, written
    h_P,  # [B, P, N], as pairs of numbers, now and then, written
    T,
    N: tl.constexpr,
    BN: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_n = tl.arange(0, BN)

    b_a_re = tl.load(a + o_n * 2)  # [BN]
    b_a_im = tl.load(a + o_n * 2 + 1)  # [BN]
    b_exp_gamma = tl.load(exp_gamma + o_n)  # [BN]
    b_h_re = tl.load(h_0 + i_b * (2 * N) + o_n * 2)  # [BN]
    b_h_im = tl.load(h_0 + i_b * (2 * N) + o_n * 2 + 1)  # [BN]

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_h_re_saved = h_P + i_b * P * (2 * N) + o_n * 2
        p_h_im_saved = h_P + i_b * P * (2 * N) + o_n * 2 + 1
    p_B_x_re = B_x + i_b * T * (2 * N) + o_n * 2
    p_B_x_im = B_x + i_b * T * (2 * N) + o_n * 2 + 1
    p_h_next_re = h_next + i_b * T * (2 * N) + o_n * 2
    p_h_next_im = h_next + i_b * T * (2 * N) + o_n * 2 + 1
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_h_re_saved, b_h_re)
                p_h_re_saved += 2 * N
                tl.store(p_h_im_saved, b_h_im)
                p_h_im_saved += 2 * N
        b_B_x_re = tl.load(p_B_x_re)  # [BN]
        b_B_x_im = tl.load(p_B_x_im)  # [BN]
        # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
        b_h_next_re = b_a_re * b_h_re - b_a_im * b_h_im + b_exp_gamma * b_B_x_re
        b_h_next_im = b_a_re * b_h_im + b_a_im * b_h_re + b_exp_gamma * b_B_x_im
        tl.store(p_h_next_re, b_h_next_re)
        tl.store(p_h_next_im, b_h_next_im)
        b_h_re, b_h_im = b_h_next_re, b_h_next_im
        p_B_x_re += 2 * N
        p_B_x_im += 2 * N
        p_h_next_re += 2 * N
        p_h_next_im += 2 * N
    tl.store(h_T + i_b * (2 * N) + o_n * 2, b_h_re)
    tl.store(h_T + i_b * (2 * N) + o_n * 2 + 1, b_h_im)


h_constants = {"N": N, "BN": 64, "num_warps": 1}


def h_launch(B_x, a, exp_gamma, h, every=0):
    """Run `h_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = B_x.shape[:2]
    h_next = h.new_empty((batch, length, N), dtype=torch.complex64)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    h_P = h.new_empty((batch, saves(length, every), N), dtype=torch.complex64)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_kernel[grid](
            torch.view_as_real(B_x.resolve_conj().contiguous()),
            torch.view_as_real(a.resolve_conj().contiguous()),
            exp_gamma.contiguous(),
            torch.view_as_real(h.resolve_conj().contiguous()),
            torch.view_as_real(h_next),
            torch.view_as_real(h_T),
            torch.view_as_real(h_P),
            length,
            EVERY=every,
            **h_constants,
        )
    return h_next, h_T, h_P


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
        h.new_empty((batch, length, N), dtype=torch.complex64),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), N), dtype=torch.complex64),
    ]


h_operator.register_vmap(folded(h_operator, (True, False, False, True)))


def h_loop(B_x, a, exp_gamma, h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(B_x, a, exp_gamma, h) else 0
    return HLoop.apply(B_x.shape[1], every, B_x, a, exp_gamma, h)[:2]


def h_plain(B_x, a, exp_gamma, h, every=0):
    """h over time in plain PyTorch: h_next of every position, then the last states, then the arriving
    states of positions `every` apart.
    """
    all_h_next = []
    h_saved = []
    for at, (B_x,) in enumerate(positions(B_x)):
        if every and at % every == 0:
            h_saved.append(h)
        # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
        h_next = a * h + exp_gamma * B_x
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (N,), torch.complex64, h), h, over_time(h_saved, (N,), torch.complex64, h)


@triton.jit(do_not_specialize=["T"])
def d_h_kernel(
    d_h_next,  # [B, T, N], as pairs of numbers
    conj_a,  # [N], as pairs of numbers, the same at all positions
    d_h_0,  # [B, N], as pairs of numbers, at the start
    d_h_plus_d_h_next,  # [B, T, N], as pairs of numbers, written
    d_h_T,  # [B, N], as pairs of numbers, at the end, written
    T,
    N: tl.constexpr,
    BN: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_n = tl.arange(0, BN)

    b_conj_a_re = tl.load(conj_a + o_n * 2)  # [BN]
    b_conj_a_im = tl.load(conj_a + o_n * 2 + 1)  # [BN]
    b_d_h_re = tl.load(d_h_0 + i_b * (2 * N) + o_n * 2)  # [BN]
    b_d_h_im = tl.load(d_h_0 + i_b * (2 * N) + o_n * 2 + 1)  # [BN]

    p_d_h_next_re = d_h_next + (i_b * T + T - 1) * (2 * N) + o_n * 2
    p_d_h_next_im = d_h_next + (i_b * T + T - 1) * (2 * N) + o_n * 2 + 1
    p_d_h_plus_d_h_next_re = d_h_plus_d_h_next + (i_b * T + T - 1) * (2 * N) + o_n * 2
    p_d_h_plus_d_h_next_im = d_h_plus_d_h_next + (i_b * T + T - 1) * (2 * N) + o_n * 2 + 1
    for _ in range(T):
        b_d_h_next_re = tl.load(p_d_h_next_re)  # [BN]
        b_d_h_next_im = tl.load(p_d_h_next_im)  # [BN]
        b_d_h_plus_d_h_next_re = b_d_h_re + b_d_h_next_re
        b_d_h_plus_d_h_next_im = b_d_h_im + b_d_h_next_im
        b_d_h_re_next = b_conj_a_re * b_d_h_plus_d_h_next_re - b_conj_a_im * b_d_h_plus_d_h_next_im
        b_d_h_im_next = b_conj_a_re * b_d_h_plus_d_h_next_im + b_conj_a_im * b_d_h_plus_d_h_next_re
        tl.store(p_d_h_plus_d_h_next_re, b_d_h_plus_d_h_next_re)
        tl.store(p_d_h_plus_d_h_next_im, b_d_h_plus_d_h_next_im)
        b_d_h_re, b_d_h_im = b_d_h_re_next, b_d_h_im_next
        p_d_h_next_re -= 2 * N
        p_d_h_next_im -= 2 * N
        p_d_h_plus_d_h_next_re -= 2 * N
        p_d_h_plus_d_h_next_im -= 2 * N
    tl.store(d_h_T + i_b * (2 * N) + o_n * 2, b_d_h_re)
    tl.store(d_h_T + i_b * (2 * N) + o_n * 2 + 1, b_d_h_im)


d_h_constants = {"N": N, "BN": 64, "num_warps": 1}


def d_h_launch(d_h_next, conj_a, d_h):
    """Run `d_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = d_h_next.shape[:2]
    d_h_plus_d_h_next = d_h.new_empty((batch, length, N), dtype=torch.complex64)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_h):
        d_h_kernel[grid](
            torch.view_as_real(d_h_next.resolve_conj().contiguous()),
            torch.view_as_real(conj_a.resolve_conj().contiguous()),
            torch.view_as_real(d_h.resolve_conj().contiguous()),
            torch.view_as_real(d_h_plus_d_h_next),
            torch.view_as_real(d_h_T),
            length,
            **d_h_constants,
        )
    return d_h_plus_d_h_next, d_h_T


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
        d_h.new_empty((batch, length, N), dtype=torch.complex64),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
    ]


d_h_operator.register_vmap(folded(d_h_operator, (True, False, True)))


def d_h_loop(d_h_next, conj_a, d_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_operator([d_h_next, conj_a, d_h], d_h_next.shape[1], 0)


def d_h_plain(d_h_next, conj_a, d_h):
    """d_h over time in plain PyTorch, from the end to the start: d_h_plus_d_h_next of every position, then
    the last states.
    """
    all_d_h_plus_d_h_next = []
    for (d_h_next,) in positions(d_h_next, reverse=True):
        d_h_plus_d_h_next = d_h + d_h_next
        d_h_next_2 = conj_a * d_h_plus_d_h_next
        all_d_h_plus_d_h_next.append(d_h_plus_d_h_next)
        d_h = d_h_next_2
    return over_time(all_d_h_plus_d_h_next, (N,), torch.complex64, d_h, reverse=True), d_h


def h_adjoint(B_x, a, exp_gamma, h, d_h_next, d_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    conj_a = torch.conj_physical(a)
    d_h_plus_d_h_next, d_h_last_2 = d_h_loop(d_h_next, conj_a, d_h_last)

    d_B_x = exp_gamma * d_h_plus_d_h_next
    d_a = d_h_plus_d_h_next * torch.conj_physical(h)
    d_exp_gamma = (d_h_plus_d_h_next * torch.conj_physical(B_x)).real
    d_a_sum = d_a.sum((0, 1))
    d_exp_gamma_sum = d_exp_gamma.sum((0, 1))

    return d_B_x, d_a_sum, d_exp_gamma_sum, d_h_last_2


class HDerivative(torch.autograd.Function):
    """`h_adjoint`, whose own derivative goes through `h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, B_x, a, exp_gamma, h, h_saved, d_h_next, d_h_last):
        if not every:
            every = 1
            *_, h_saved = h_operator([B_x, a, exp_gamma, h], length, every)
        return h_adjoint(B_x, a, exp_gamma, h_saved, d_h_next, d_h_last)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:4], *tensors[5:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(h_plain, tensors[:4], tensors[4:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:4], None, *found[4:]


class HLoop(torch.autograd.Function):
    """`h_operator`, whose derivative is `HDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, B_x, a, exp_gamma, h):
        return tuple(h_operator([B_x, a, exp_gamma, h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h = tensors[3]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, N), torch.complex64),
            filled(cotangents[1], h, h.shape, h.dtype),
        ]
        return None, None, *HDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "nu": uniform((N,), -3, -1, generator),
        "theta": uniform((N,), -3, 1, generator),
        "gamma": uniform((N,), -2, 0, generator),
        "B": torch.complex(
            1 / math.sqrt(2 * D) * torch.randn((N, D), generator=generator, dtype=torch.float32),
            1 / math.sqrt(2 * D) * torch.randn((N, D), generator=generator, dtype=torch.float32),
        ),
        "C": torch.complex(
            1 / math.sqrt(N) * torch.randn((D, N), generator=generator, dtype=torch.float32),
            1 / math.sqrt(N) * torch.randn((D, N), generator=generator, dtype=torch.float32),
        ),
        "d": 1 * torch.randn((D,), generator=generator, dtype=torch.float32),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, N), dtype=torch.complex64, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    nu = taken(params, "nu", (N,), torch.float32)
    theta = taken(params, "theta", (N,), torch.float32)
    gamma = taken(params, "gamma", (N,), torch.float32)
    B = taken(params, "B", (N, D), torch.complex64)
    C = taken(params, "C", (D, N), torch.complex64)
    d = taken(params, "d", (D,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
    B_x = x.to(torch.complex64) @ B.mT  # [B, T, N]

    # std/lru.lsrl:13  a = exp(-exp(nu)) * cis(exp(theta))
    a = torch.exp(-torch.exp(nu)) * torch.polar(torch.ones_like(torch.exp(theta)), torch.exp(theta))
    # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
    exp_gamma = torch.exp(gamma)
    h_next, h_last = h_loop(B_x, a, exp_gamma, state["h"])

    # std/lru.lsrl:16  output y = re(C @ h') + d * x
    y = (h_next @ C.mT).real + d * x

    return {"y": y}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Lru(torch.nn.Module):
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
    "h": "one Triton kernel over time, batch programs of 1 warp",
}
KERNELS = (
    (
        h_kernel,
        {
            "B_x": "*fp32",
            "a": "*fp32",
            "exp_gamma": "*fp32",
            "h_0": "*fp32",
            "h_next": "*fp32",
            "h_T": "*fp32",
            "h_P": "*fp32",
            "T": "i32",
        },
        h_constants | {"EVERY": 1},
    ),
    (
        d_h_kernel,
        {
            "d_h_next": "*fp32",
            "conj_a": "*fp32",
            "d_h_0": "*fp32",
            "d_h_plus_d_h_next": "*fp32",
            "d_h_T": "*fp32",
            "T": "i32",
        },
        d_h_constants,
    ),
)
