"""mingru: Minimal gated recurrent unit (Feng et al., 2024, "Were RNNs all we needed?").

Arrays, by name:
    inputs   x [B, T, D]
    params   Wz, Wh [H, D]; bz, bh [H]
    state    h [B, H]
    outputs  h [B, T, H]

Schedule of h: one Triton kernel over time, batch x cdiv(H, 128) programs of 1 warp.
Backward pass of h: one Triton kernel over time, batch x cdiv(H, 128) programs of 1 warp, from h kept at
    every position.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/mingru by
    lsrl compile std/mingru --target triton
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

D, H = 32, 256

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
OPERATORS = own_namespace("lsrl_070a834f0041")


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
    W_zh_x,  # [B, T, 2*H]
    bz,  # [H], the same at all positions
    bh,  # [H], the same at all positions
    h_0,  # [B, H], at the start
    h_next,  # [B, T, H], written
    h_T,  # [B, H], at the end, written
    h_P,  # [B, P, H], now and then, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_h = tl.program_id(1)
    o_h = i_h * BH + tl.arange(0, BH)

    b_bz = tl.load(bz + o_h)  # [BH]
    b_bh = tl.load(bh + o_h)  # [BH]
    b_h = tl.load(h_0 + i_b * H + o_h)  # [BH]

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_h_saved = h_P + i_b * P * H + o_h
    p_W_zh_x_z = W_zh_x + i_b * T * (2 * H) + o_h
    p_W_zh_x_c = W_zh_x + i_b * T * (2 * H) + o_h + H
    p_h_next = h_next + i_b * T * H + o_h
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_h_saved, b_h)
                p_h_saved += H
        b_W_zh_x_z = tl.load(p_W_zh_x_z)  # [BH]
        b_W_zh_x_c = tl.load(p_W_zh_x_c)  # [BH]
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        b_z = tl.sigmoid(b_W_zh_x_z + b_bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        b_c = b_W_zh_x_c + b_bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        b_h_next = (1 - b_z) * b_h + b_z * b_c
        tl.store(p_h_next, b_h_next)
        b_h = b_h_next
        p_W_zh_x_z += 2 * H
        p_W_zh_x_c += 2 * H
        p_h_next += H
    tl.store(h_T + i_b * H + o_h, b_h)


h_constants = {"H": H, "BH": 128, "num_warps": 1}


def h_launch(W_zh_x, bz, bh, h, every=0):
    """Run `h_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = W_zh_x.shape[:2]
    h_next = h.new_empty((batch, length, H), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    h_P = h.new_empty((batch, saves(length, every), H), dtype=torch.float32)
    grid = (batch, triton.cdiv(H, 128))
    with torch.cuda.device_of(h):
        h_kernel[grid](
            W_zh_x.contiguous(),
            bz.contiguous(),
            bh.contiguous(),
            h.contiguous(),
            h_next,
            h_T,
            h_P,
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
        h.new_empty((batch, length, H), dtype=torch.float32),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), H), dtype=torch.float32),
    ]


h_operator.register_vmap(folded(h_operator, (True, False, False, True)))


def h_loop(W_zh_x, bz, bh, h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(W_zh_x, bz, bh, h) else 0
    return HLoop.apply(W_zh_x.shape[1], every, W_zh_x, bz, bh, h)[:2]


def h_plain(W_zh_x, bz, bh, h, every=0):
    """h over time in plain PyTorch: h_next of every position, then the last states, then the arriving
    states of positions `every` apart.
    """
    all_h_next = []
    h_saved = []
    for at, (W_zh_x,) in enumerate(positions(W_zh_x)):
        if every and at % every == 0:
            h_saved.append(h)
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        z = torch.sigmoid(W_zh_x[..., :H] + bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        c = W_zh_x[..., H:] + bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        h_next = (1 - z) * h + z * c
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (H,), torch.float32, h), h, over_time(h_saved, (H,), torch.float32, h)


@triton.jit(do_not_specialize=["T"])
def d_h_kernel(
    W_zh_x,  # [B, T, 2*H]
    d_h_next,  # [B, T, H]
    bz,  # [H], the same at all positions
    d_h_0,  # [B, H], at the start
    d_h_plus_d_h_next,  # [B, T, H], written
    d_h_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_h = tl.program_id(1)
    o_h = i_h * BH + tl.arange(0, BH)

    b_bz = tl.load(bz + o_h)  # [BH]
    b_d_h = tl.load(d_h_0 + i_b * H + o_h)  # [BH]

    p_W_zh_x_z = W_zh_x + (i_b * T + T - 1) * (2 * H) + o_h
    p_d_h_next = d_h_next + (i_b * T + T - 1) * H + o_h
    p_d_h_plus_d_h_next = d_h_plus_d_h_next + (i_b * T + T - 1) * H + o_h
    for _ in range(T):
        b_W_zh_x_z = tl.load(p_W_zh_x_z)  # [BH]
        b_d_h_next = tl.load(p_d_h_next)  # [BH]
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        b_z = tl.sigmoid(b_W_zh_x_z + b_bz)
        b_d_h_plus_d_h_next = b_d_h + b_d_h_next
        b_d_h_next_2 = (1 - b_z) * b_d_h_plus_d_h_next
        tl.store(p_d_h_plus_d_h_next, b_d_h_plus_d_h_next)
        b_d_h = b_d_h_next_2
        p_W_zh_x_z -= 2 * H
        p_d_h_next -= H
        p_d_h_plus_d_h_next -= H
    tl.store(d_h_T + i_b * H + o_h, b_d_h)


d_h_constants = {"H": H, "BH": 128, "num_warps": 1}


def d_h_launch(W_zh_x, d_h_next, bz, d_h):
    """Run `d_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = W_zh_x.shape[:2]
    d_h_plus_d_h_next = d_h.new_empty((batch, length, H), dtype=torch.float32)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    grid = (batch, triton.cdiv(H, 128))
    with torch.cuda.device_of(d_h):
        d_h_kernel[grid](
            W_zh_x.contiguous(),
            d_h_next.contiguous(),
            bz.contiguous(),
            d_h.contiguous(),
            d_h_plus_d_h_next,
            d_h_T,
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
        d_h.new_empty((batch, length, H), dtype=torch.float32),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
    ]


d_h_operator.register_vmap(folded(d_h_operator, (True, True, False, True)))


def d_h_loop(W_zh_x, d_h_next, bz, d_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_operator([W_zh_x, d_h_next, bz, d_h], W_zh_x.shape[1], 0)


def d_h_plain(W_zh_x, d_h_next, bz, d_h):
    """d_h over time in plain PyTorch, from the end to the start: d_h_plus_d_h_next of every position, then
    the last states.
    """
    all_d_h_plus_d_h_next = []
    for W_zh_x, d_h_next in positions(W_zh_x, d_h_next, reverse=True):
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        z = torch.sigmoid(W_zh_x[..., :H] + bz)
        d_h_plus_d_h_next = d_h + d_h_next
        d_h_next_2 = (1 - z) * d_h_plus_d_h_next
        all_d_h_plus_d_h_next.append(d_h_plus_d_h_next)
        d_h = d_h_next_2
    return over_time(all_d_h_plus_d_h_next, (H,), torch.float32, d_h, reverse=True), d_h


def h_adjoint(W_zh_x, bz, bh, h, d_h_next, d_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    W_zh_x_part = W_zh_x[..., :H]  # [B, T, H]

    d_h_plus_d_h_next, d_h_last_2 = d_h_loop(W_zh_x, d_h_next, bz, d_h_last)

    # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
    z = torch.sigmoid(W_zh_x_part + bz)
    # std/mingru.lsrl:10  c = Wh @ x + bh
    c = W_zh_x[..., H:] + bh
    d_bz = (d_h_plus_d_h_next * c - d_h_plus_d_h_next * h) * (z * (1.0 - z))
    d_bh = z * d_h_plus_d_h_next
    d_W_zh_x = torch.cat([d_bz, d_bh], -1)  # [B, T, 2*H]
    d_bz_sum = d_bz.sum((0, 1))
    d_bh_sum = d_bh.sum((0, 1))

    return d_W_zh_x, d_bz_sum, d_bh_sum, d_h_last_2


class HDerivative(torch.autograd.Function):
    """`h_adjoint`, whose own derivative goes through `h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, W_zh_x, bz, bh, h, h_saved, d_h_next, d_h_last):
        if not every:
            every = 1
            *_, h_saved = h_operator([W_zh_x, bz, bh, h], length, every)
        return h_adjoint(W_zh_x, bz, bh, h_saved, d_h_next, d_h_last)

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
    def forward(length, every, W_zh_x, bz, bh, h):
        return tuple(h_operator([W_zh_x, bz, bh, h], length, every))

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
            filled(cotangents[0], h, (batch, length, H), torch.float32),
            filled(cotangents[1], h, h.shape, h.dtype),
        ]
        return None, None, *HDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "Wz": uniform((H, D), -1 / math.sqrt(D), 1 / math.sqrt(D), generator),
        "Wh": uniform((H, D), -1 / math.sqrt(D), 1 / math.sqrt(D), generator),
        "bz": torch.zeros((H,), dtype=torch.float32, device=device),
        "bh": torch.zeros((H,), dtype=torch.float32, device=device),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, H), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    Wz = taken(params, "Wz", (H, D), torch.float32)
    Wh = taken(params, "Wh", (H, D), torch.float32)
    bz = taken(params, "bz", (H,), torch.float32)
    bh = taken(params, "bh", (H,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    W_zh_x = x @ torch.cat([Wz, Wh]).mT  # [B, T, 2*H]

    h_next, h_last = h_loop(W_zh_x, bz, bh, state["h"])

    return {"h": h_next}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Mingru(torch.nn.Module):
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
    "h": "one Triton kernel over time, batch x cdiv(H, 128) programs of 1 warp",
}
KERNELS = (
    (
        h_kernel,
        {
            "W_zh_x": "*fp32",
            "bz": "*fp32",
            "bh": "*fp32",
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
            "W_zh_x": "*fp32",
            "d_h_next": "*fp32",
            "bz": "*fp32",
            "d_h_0": "*fp32",
            "d_h_plus_d_h_next": "*fp32",
            "d_h_T": "*fp32",
            "T": "i32",
        },
        d_h_constants,
    ),
)
