"""State space models: the kernel of their convolution, from discretisations that are computed another way."""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import cont2discrete

from support.peers.row import Given, Row, T, Tensors, positive
from support.peers.unrolled import linear

STEPS = torch.arange(T, dtype=torch.float64)


def convolved(kernel: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Causal convolution of u [B, T, H] with a kernel [H, T], by the Fourier transform."""
    spectrum = torch.fft.rfft(kernel.T, n=2 * T, dim=0) * torch.fft.rfft(u, n=2 * T, dim=1)
    return torch.fft.irfft(spectrum, n=2 * T, dim=1)[:, :T]


def diagonal_model(given: Given, a: torch.Tensor, b: torch.Tensor) -> Tensors:
    """y of H models with N complex states and their conjugates, x' = a x + b u."""
    p, u, start = given.params, given.inputs["u"], given.state["x"]
    powers = a[..., None] ** STEPS
    kernel = 2 * torch.einsum("hn,hnt->ht", p["C"] * b, powers).real
    before = 2 * torch.einsum("hn,hnt,bhn->bth", p["C"] * a, powers, start).real
    last = torch.einsum("hnt,bth,hn->bhn", powers.flip(-1), u + 0j, b)
    return {"y": convolved(kernel, u) + before + p["D"] * u, "state.x": last + a**T * start}


def _times(given: Given) -> tuple[torch.Tensor, torch.Tensor]:
    p = given.params
    return p["log_dt"].exp()[:, None], torch.complex(-p["log_A_real"].exp(), p["A_imag"])


def s4d(given: Given) -> Tensors:
    """The exponential of [[A, 1], [0, 0]] dt has both the transition and what a held input adds."""
    dt, A = _times(given)
    whole = torch.stack([torch.stack([A, torch.ones_like(A)], -1), torch.zeros(*A.shape, 2, dtype=A.dtype)], -2)
    exponential = torch.linalg.matrix_exp(whole * dt[..., None, None])
    return diagonal_model(given, exponential[..., 0, 0], exponential[..., 0, 1])


def s4d_bilinear(given: Given) -> Tensors:
    dt, A = _times(given)
    a = 2 / (1 - dt * A / 2) - 1
    return diagonal_model(given, a, dt * (1 + a) / 2)


def s5(given: Given) -> Tensors:
    """As for s4d, of all states at once."""
    p, u = given.params, given.inputs["u"]
    states, width = p["B"].shape
    step = p["log_step"].exp()[:, None]
    A = torch.diag(torch.complex(p["Lambda_re"], p["Lambda_im"]))
    upper = torch.cat([step * A, step * p["B"]], 1)
    exponential = torch.linalg.matrix_exp(torch.cat([upper, torch.zeros(width, states + width, dtype=A.dtype)]))
    a, b = exponential[:states, :states].diagonal(), exponential[:states, states:]
    x = linear(a.expand(*u.shape[:2], -1), (u + 0j) @ b.T, given.state["x"])
    return {"y": 2 * (x @ p["C"].T).real + u * p["D"], "state.x": x[:, -1]}


def lssl(given: Given) -> Tensors:
    """The discretisation is scipy's; its formula with inverses is what is differentiated."""
    p, u, start = given.params, given.inputs["u"], given.state["x"]
    A, dt, one = p["A"], p["log_dt"].exp()[:, None, None], torch.eye(given.sizes["N"], dtype=torch.float64)
    inverse = torch.linalg.inv(one - dt * A / 2)
    a, b = 2 * inverse - one, (inverse * dt) @ p["B"]
    _check_discretisation(given, a.detach().numpy(), b.detach().numpy())
    powers = torch.stack([torch.linalg.matrix_power(a, power) for power in range(T + 1)])
    kernel = torch.einsum("hmn,thnk,hk->mht", p["C"], powers[:T], b)
    read = torch.stack([convolved(rows, u) for rows in kernel], -1)
    before = torch.einsum("hmn,thnk,bhk->bthm", p["C"], powers[1:], start)
    last = torch.einsum("thnk,hk,bth->bhn", powers[:T].flip(0), b, u)
    return {
        "y": read + before + u[..., None] * p["D"],
        "state.x": last + torch.einsum("hnk,bhk->bhn", powers[T], start),
    }


def _check_discretisation(given: Given, a: np.ndarray, b: np.ndarray) -> None:
    A, B = (given.params[name].detach().numpy() for name in "AB")
    for head, dt in enumerate(given.params["log_dt"].detach().exp().tolist()):
        system = (A, B[:, None], np.zeros((1, len(B))), np.zeros((1, 1)))
        found = cont2discrete(system, dt, method="gbt", alpha=0.5)
        np.testing.assert_allclose(a[head], found[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(b[head], found[1][:, 0], rtol=1e-12, atol=1e-12)


def legs(states: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices, element by element."""
    rows = [
        [-(((2 * n + 1) * (2 * k + 1)) ** 0.5) if n > k else -(n + 1.0) * (n == k) for k in range(states)]
        for n in range(states)
    ]
    return torch.tensor(rows, dtype=torch.float64), torch.tensor(
        [(2 * n + 1) ** 0.5 for n in range(states)], dtype=torch.float64
    )


def hippo_legs(given: Given) -> Tensors:
    """Sums over all that was written, each times the product of the transitions since; they have rational form."""
    f, start = given.inputs["f"], given.state["c"]
    A, B = legs(given.sizes["N"])
    one = torch.eye(len(B), dtype=torch.float64)
    k = given.state["k"][:, None] + 1 + STEPS
    inverse = torch.linalg.inv(2 * k[..., None, None] * one - A)
    transition = inverse @ (2 * k[..., None, None] * one + A)
    written = 2 * f[..., None] * (inverse @ B)
    found = []
    for t in range(T):
        since = [one.expand(len(f), -1, -1)]
        for s in range(t, -1, -1):
            since.append(since[-1] @ transition[:, s])
        found.append(sum((p @ written[:, t - s, :, None])[..., 0] for s, p in enumerate(since[:-1])))
        found[-1] = found[-1] + (since[-1] @ start[..., None])[..., 0]
    return {"c": torch.stack(found, 1), "state.c": found[-1], "state.k": k[:, -1]}


def lmu(given: Given) -> Tensors:
    """The matrices, element by element, discretised by scipy."""
    p, n, (h, m) = given.params, given.sizes["N"], (given.state["h"], given.state["m"])
    A = [[(2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1)) for j in range(n)] for i in range(n)]
    B = [[(2 * i + 1) * (-1.0) ** i] for i in range(n)]
    theta = given.sizes["theta"]
    system = (np.array(A) / theta, np.array(B) / theta, np.eye(n), np.zeros((n, 1)))
    a, b = (torch.tensor(matrix) for matrix in cont2discrete(system, 1.0, method="zoh")[:2])
    kernel = torch.cat([p["W_x"], p["W_h"], p["W_m"]], 1)
    found = []
    for x in given.inputs["x"].unbind(1):
        u = (x * p["e_x"]).sum(-1) + (h * p["e_h"]).sum(-1) + (m * p["e_m"]).sum(-1)
        m = m @ a.T + u[:, None] * b[:, 0]
        h = torch.tanh(torch.cat([x, h, m], -1) @ kernel.T)
        found.append(h)
    return {"h": torch.stack(found, 1), "state.h": h, "state.m": m}


def mega_ema(given: Given) -> Tensors:
    p = given.params
    a = torch.sigmoid(p["alpha"])
    return _averages(given, 1 - a * torch.sigmoid(p["delta"]), a * p["beta"], p["eta"])


def mega_cema(given: Given) -> Tensors:
    p, number = given.params, given.sizes["N"]
    a = torch.sigmoid(p["alpha"])
    angle = torch.linspace(2 * torch.pi / number, 2 * torch.pi, number, dtype=torch.float64) * p["omega"][:, None]
    turned = torch.polar(torch.ones_like(angle), angle)
    return _averages(given, (1 - a * torch.sigmoid(p["delta"])) * turned, a * p["beta"] * turned, p["eta"].conj())


def _averages(given: Given, kept: torch.Tensor, entering: torch.Tensor, read: torch.Tensor) -> Tensors:
    """h' = kept h + entering x, of which the real part of read h is given out."""
    x, start = given.inputs["x"], given.state["h"]
    powers = kept[..., None] ** torch.arange(T + 1)
    kernel = torch.einsum("dn,dnt->dt", read * entering, powers[..., :T])
    before = torch.einsum("dn,dnt,bdn->btd", read, powers[..., 1:], start)
    last = torch.einsum("dnt,btd,dn->bdn", powers[..., :T].flip(-1), x.to(kept.dtype), entering)
    if kept.is_complex():
        kernel, before = kernel.real, before.real
    return {"y": convolved(kernel, x) + before, "state.h": last + powers[..., T] * start}


def s4(given: Given) -> Tensors:
    """A as a whole matrix, and inverses and powers of whole matrices."""
    p, u, start = given.params, given.inputs["u"], given.state["x"]
    A = torch.diag_embed(torch.complex(-p["log_Lambda_re"].exp(), p["Lambda_im"]))
    A = A - p["P"][..., None] * p["Q"].conj()[:, None]
    dt, one = p["log_dt"].exp()[:, None, None], torch.eye(given.sizes["N"], dtype=A.dtype)
    inverse = torch.linalg.inv(one - dt / 2 * A)
    a, b = inverse @ (one + dt / 2 * A), (inverse @ (dt * p["B"][..., None]))[..., 0]
    powers = torch.stack([torch.linalg.matrix_power(a, power) for power in range(T + 1)])
    kernel = 2 * torch.einsum("hn,thnk,hk->ht", p["C"], powers[:T], b).real
    before = 2 * torch.einsum("hn,thnk,bhk->bth", p["C"], powers[1:], start).real
    last = torch.einsum("thnk,hk,bth->bhn", powers[:T].flip(0), b, u + 0j)
    return {
        "y": convolved(kernel, u) + before + p["D"] * u,
        "state.x": last + torch.einsum("hnk,bhk->bhn", powers[T], start),
    }


def _oscillators(given: Given, transition: torch.Tensor, written: torch.Tensor) -> Tensors:
    """Position and speed of each oscillator as one vector, [P, 2, 2] matrices and their powers."""
    p, state = given.params, given.state
    force = given.inputs["u"] @ p["B"].T
    powers = torch.stack([torch.linalg.matrix_power(transition, power) for power in range(T + 1)])
    start = torch.stack([state["z"], state["y"]], -1)
    kernel = torch.einsum("tpij,pj->ipt", powers[:T], written)
    before = torch.einsum("tpij,bpj->ibtp", powers[1:], start)
    z, y = (convolved(kernel[part], force) + before[part] for part in range(2))
    return {"x": y @ p["C"].T + p["D"] * given.inputs["u"], "state.z": z[:, -1], "state.y": y[:, -1]}


def linoss(given: Given) -> Tensors:
    """The implicit step is the inverse of the matrix that leads back."""
    dt, A = torch.sigmoid(given.params["step"]), torch.relu(given.params["A"])
    one = torch.ones_like(dt)
    back = torch.stack([torch.stack([one, dt * A], -1), torch.stack([-dt, one], -1)], -2)
    transition = torch.linalg.inv(back)
    return _oscillators(given, transition, transition[..., 0] * dt[:, None])


def linoss_imex(given: Given) -> Tensors:
    dt, A = torch.sigmoid(given.params["step"]), torch.relu(given.params["A"])
    one = torch.ones_like(dt)
    rows = [torch.stack([one, -dt * A], -1), torch.stack([dt, 1 - dt**2 * A], -1)]
    return _oscillators(given, torch.stack(rows, -2), torch.stack([dt, dt**2], -1))


def h3(given: Given) -> Tensors:
    """The shift by conv1d, over keys from before the start as well."""
    p, i, width = given.params, given.inputs, given.sizes["M"]
    before = [given.state[f"k[t-{lag}]"][:, None] for lag in range(width - 1, 0, -1)]
    keys = torch.cat([*before, i["k"]], 1).mT
    shifted = torch.nn.functional.conv1d(keys, p["C"][:, None], groups=len(p["D"])).mT + p["D"] * i["k"]
    inner = {name.removeprefix("s4d."): value for name, value in p.items() if name.startswith("s4d.")}
    result = s4d(Given(inner, {"u": shifted * i["v"]}, {"x": given.state["s4d.x"]}, given.sizes))
    return {"o": i["q"] * result["y"], "state.s4d.x": result["state.x"]}


def dss(given: Given) -> Tensors:
    """The kernel by powers; the transition by the exponential's own definition."""
    p, u, start = given.params, given.inputs["u"], given.state["x"]
    A, dt = torch.complex(-p["Lambda_re"].exp(), p["Lambda_im"]), p["log_dt"].exp()[:, None]
    decay = torch.polar((dt * A.real).exp(), dt * A.imag)
    b = torch.expm1(dt * A) / A
    powers = decay[..., None] ** torch.arange(T + 1)
    kernel = torch.einsum("hn,hnt->ht", p["W"] * b, powers[..., :T]).real
    before = torch.einsum("hn,hnt,bhn->bth", p["W"], powers[..., 1:], start).real
    last = torch.einsum("hnt,bth,hn->bhn", powers[..., :T].flip(-1), u + 0j, b)
    return {"y": convolved(kernel, u) + before + p["D"] * u, "state.x": last + powers[..., T] * start}


KERNEL = "closed form: convolution with the kernel, by the Fourier transform"
ROWS: tuple[Row, ...] = (
    Row("s4d", {"H": 3, "N": 5}, f"{KERNEL}; torch.linalg.matrix_exp", s4d),
    Row("s4d_bilinear", {"H": 3, "N": 5}, KERNEL, s4d_bilinear),
    Row("s5", {"H": 3, "P": 5}, "torch.linalg.matrix_exp of the augmented matrix; sum over all earlier inputs", s5),
    Row("hippo_legs", {"N": 5}, "closed form: sum over all earlier inputs", hippo_legs, {"k": positive}),
    Row("lssl", {"H": 3, "N": 5, "M": 2}, f"scipy.signal.cont2discrete; {KERNEL}", lssl),
    Row("lmu", {"D": 3, "H": 5, "N": 4, "theta": 6}, "scipy.signal.cont2discrete", lmu),
    Row("mega_ema", {"D": 3, "N": 5}, KERNEL, mega_ema),
    Row("mega_cema", {"D": 3, "N": 5}, KERNEL, mega_cema),
    Row("s4", {"H": 3, "N": 5}, f"{KERNEL}; the whole matrix A", s4),
    Row("linoss", {"H": 3, "P": 5}, KERNEL, linoss, {"A": positive}),
    Row("linoss_imex", {"H": 3, "P": 5}, KERNEL, linoss_imex, {"A": positive}),
    Row("h3", {"H": 3, "N": 5, "M": 4}, f"torch.nn.functional.conv1d; {KERNEL}", h3),
    Row("dss", {"H": 3, "N": 5}, KERNEL, dss),
)
