"""lagged

Arrays, by name:
    inputs   x [B, T, D]
    state    h, x[t-1], x[t-2], h[t-2], h[t-3] [B, D]
    outputs  y, z [B, T, D]

Schedule of h: one Triton kernel over time, batch programs of 1 warp.
Backward pass of h: one Triton kernel over time, batch programs of 1 warp, from h kept at every position.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from lags.lsrl by
    lsrl compile lags.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
import os
import sys
import warnings

import torch
import triton
import triton.language as tl

D = 64

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


def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = torch.cat([first[:, None], sequence], 1)
    return whole[:, :-1], whole[:, -1]


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
OPERATORS = own_namespace("lsrl_247407ed591a")


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
    x,  # [B, T, D]
    x_prev2,  # [B, T, D]
    x_prev,  # [B, T, D]
    h_0,  # [B, D], at the start
    h,  # [B, T, D], written
    y,  # [B, T, D], written
    h_T,  # [B, D], at the end, written
    h_P,  # [B, P, D], now and then, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_h = tl.load(h_0 + i_b * D + o_d)  # [BD]

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_h_saved = h_P + i_b * P * D + o_d
    p_x = x + i_b * T * D + o_d
    p_x_prev2 = x_prev2 + i_b * T * D + o_d
    p_x_prev = x_prev + i_b * T * D + o_d
    p_h = h + i_b * T * D + o_d
    p_y = y + i_b * T * D + o_d
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_h_saved, b_h)
                p_h_saved += D
        b_x = tl.load(p_x)  # [BD]
        b_x_prev2 = tl.load(p_x_prev2)  # [BD]
        b_x_prev = tl.load(p_x_prev)  # [BD]
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        b_h_next = tanh(0.5 * b_h + b_x_prev2 - 0.3 * b_x)
        # <text>:6  output y = h' + x[t-1], z = h'[t-3]
        b_y = b_h_next + b_x_prev
        tl.store(p_h, b_h)
        tl.store(p_y, b_y)
        b_h = b_h_next
        p_x += D
        p_x_prev2 += D
        p_x_prev += D
        p_h += D
        p_y += D
    tl.store(h_T + i_b * D + o_d, b_h)


h_constants = {"D": D, "BD": 64, "num_warps": 1}


def h_launch(x, x_prev2, x_prev, h, every=0):
    """Run `h_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = x.shape[:2]
    h_out = h.new_empty((batch, length, D), dtype=torch.float32)
    y = h.new_empty((batch, length, D), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    h_P = h.new_empty((batch, saves(length, every), D), dtype=torch.float32)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_kernel[grid](
            x.contiguous(),
            x_prev2.contiguous(),
            x_prev.contiguous(),
            h.contiguous(),
            h_out,
            y,
            h_T,
            h_P,
            length,
            EVERY=every,
            **h_constants,
        )
    return h_out, y, h_T, h_P


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
        h.new_empty((batch, length, D), dtype=torch.float32),
        h.new_empty((batch, length, D), dtype=torch.float32),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), D), dtype=torch.float32),
    ]


h_operator.register_vmap(folded(h_operator, (True, True, True, True)))


def h_loop(x, x_prev2, x_prev, h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = 1 if wants_gradients(x, x_prev2, x_prev, h) else 0
    return HLoop.apply(x.shape[1], every, x, x_prev2, x_prev, h)[:3]


def h_plain(x, x_prev2, x_prev, h, every=0):
    """h over time in plain PyTorch: h, y of every position, then the last states, then the arriving states
    of positions `every` apart.
    """
    all_h = []
    all_y = []
    h_saved = []
    for at, (x, x_prev2, x_prev) in enumerate(positions(x, x_prev2, x_prev)):
        if every and at % every == 0:
            h_saved.append(h)
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        h_next = torch.tanh(0.5 * h + x_prev2 - 0.3 * x)
        # <text>:6  output y = h' + x[t-1], z = h'[t-3]
        y = h_next + x_prev
        all_h.append(h)
        all_y.append(y)
        h = h_next
    return (
        over_time(all_h, (D,), torch.float32, h),
        over_time(all_y, (D,), torch.float32, h),
        h,
        over_time(h_saved, (D,), torch.float32, h),
    )


@triton.jit(do_not_specialize=["T"])
def d_h_kernel(
    d_h_2,  # [B, T, D]
    d_y,  # [B, T, D]
    h_next_difference,  # [B, T, D]
    d_h_0,  # [B, D], at the start
    d_x_prev2,  # [B, T, D], written
    d_h_T,  # [B, D], at the end, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_d_h = tl.load(d_h_0 + i_b * D + o_d)  # [BD]

    p_d_h_2 = d_h_2 + (i_b * T + T - 1) * D + o_d
    p_d_y = d_y + (i_b * T + T - 1) * D + o_d
    p_h_next_difference = h_next_difference + (i_b * T + T - 1) * D + o_d
    p_d_x_prev2 = d_x_prev2 + (i_b * T + T - 1) * D + o_d
    for _ in range(T):
        b_d_h_2 = tl.load(p_d_h_2)  # [BD]
        b_d_y = tl.load(p_d_y)  # [BD]
        b_h_next_difference = tl.load(p_h_next_difference)  # [BD]
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        b_h_next = tanh(b_h_next_difference)
        b_d_x_prev2 = (b_d_h + b_d_y) * (1.0 - b_h_next * b_h_next)
        b_d_h_next = b_d_h_2 + 0.5 * b_d_x_prev2
        tl.store(p_d_x_prev2, b_d_x_prev2)
        b_d_h = b_d_h_next
        p_d_h_2 -= D
        p_d_y -= D
        p_h_next_difference -= D
        p_d_x_prev2 -= D
    tl.store(d_h_T + i_b * D + o_d, b_d_h)


d_h_constants = {"D": D, "BD": 64, "num_warps": 1}


def d_h_launch(d_h_2, d_y, h_next_difference, d_h):
    """Run `d_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = d_h_2.shape[:2]
    d_x_prev2 = d_h.new_empty((batch, length, D), dtype=torch.float32)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_h):
        d_h_kernel[grid](
            d_h_2.contiguous(),
            d_y.contiguous(),
            h_next_difference.contiguous(),
            d_h.contiguous(),
            d_x_prev2,
            d_h_T,
            length,
            **d_h_constants,
        )
    return d_x_prev2, d_h_T


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
        d_h.new_empty((batch, length, D), dtype=torch.float32),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
    ]


d_h_operator.register_vmap(folded(d_h_operator, (True, True, True, True)))


def d_h_loop(d_h_2, d_y, h_next_difference, d_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_operator([d_h_2, d_y, h_next_difference, d_h], d_h_2.shape[1], 0)


def d_h_plain(d_h_2, d_y, h_next_difference, d_h):
    """d_h over time in plain PyTorch, from the end to the start: d_x_prev2 of every position, then the
    last states.
    """
    all_d_x_prev2 = []
    for d_h_2, d_y, h_next_difference in positions(d_h_2, d_y, h_next_difference, reverse=True):
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        h_next = torch.tanh(h_next_difference)
        d_x_prev2 = (d_h + d_y) * (1.0 - h_next * h_next)
        d_h_next = d_h_2 + 0.5 * d_x_prev2
        all_d_x_prev2.append(d_x_prev2)
        d_h = d_h_next
    return over_time(all_d_x_prev2, (D,), torch.float32, d_h, reverse=True), d_h


def h_adjoint(x, x_prev2, x_prev, h, d_h_2, d_y, d_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
    h_next_difference = 0.5 * h + x_prev2 - 0.3 * x

    d_x_prev2, d_h_last_2 = d_h_loop(d_h_2, d_y, h_next_difference, d_h_last)

    d_x = 0.3 * -d_x_prev2

    return d_x, d_x_prev2, d_y.view_as(d_y), d_h_last_2


class HDerivative(torch.autograd.Function):
    """`h_adjoint`, whose own derivative goes through `h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, x, x_prev2, x_prev, h, h_saved, d_h, d_y, d_h_last):
        if not every:
            every = 1
            *_, h_saved = h_operator([x, x_prev2, x_prev, h], length, every)
        return h_adjoint(x, x_prev2, x_prev, h_saved, d_h, d_y, d_h_last)

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
    def forward(length, every, x, x_prev2, x_prev, h):
        return tuple(h_operator([x, x_prev2, x_prev, h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[3:])
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h = tensors[3]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, D), torch.float32),
            filled(cotangents[1], h, (batch, length, D), torch.float32),
            filled(cotangents[2], h, h.shape, h.dtype),
        ]
        return None, None, *HDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "h": torch.full((batch, D), 0.5, dtype=torch.float32, device=device),
        "x[t-1]": torch.full((batch, D), -1.0, dtype=torch.float32, device=device),
        "x[t-2]": torch.full((batch, D), -1.0, dtype=torch.float32, device=device),
        "h[t-2]": torch.full((batch, D), 0.5, dtype=torch.float32, device=device),
        "h[t-3]": torch.full((batch, D), 0.5, dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    x_prev, x_prev_last = later(state["x[t-1]"], x)  # [B, T, D]

    x_prev2, x_prev2_last = later(state["x[t-2]"], x_prev)  # [B, T, D]

    h, y, h_last = h_loop(x, x_prev2, x_prev, state["h"])

    h_prev2, h_prev2_last = later(state["h[t-2]"], h)  # [B, T, D]

    h_prev3, h_prev3_last = later(state["h[t-3]"], h_prev2)  # [B, T, D]

    return {"y": y, "z": h_prev3}, {
        "h": h_last,
        "x[t-1]": x_prev_last,
        "x[t-2]": x_prev2_last,
        "h[t-2]": h_prev2_last,
        "h[t-3]": h_prev3_last,
    }


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Lagged(torch.nn.Module):
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
            "x": "*fp32",
            "x_prev2": "*fp32",
            "x_prev": "*fp32",
            "h_0": "*fp32",
            "h": "*fp32",
            "y": "*fp32",
            "h_T": "*fp32",
            "h_P": "*fp32",
            "T": "i32",
        },
        h_constants | {"EVERY": 1},
    ),
    (
        d_h_kernel,
        {
            "d_h_2": "*fp32",
            "d_y": "*fp32",
            "h_next_difference": "*fp32",
            "d_h_0": "*fp32",
            "d_x_prev2": "*fp32",
            "d_h_T": "*fp32",
            "T": "i32",
        },
        d_h_constants,
    ),
)
