"""Nonlinear cells with stacks and slots of memory."""

from __future__ import annotations

import torch
from torch.nn.functional import cosine_similarity, layer_norm, linear, normalize, prelu, softplus

from support.peers.row import Given, Row, Tensors, unit

SIZES = {"D": 3, "H": 5}


def stack_rnn(given: Given) -> Tensors:
    """Number by number."""
    p, depth, seen = given.params, given.sizes["N"], given.sizes["K"]
    h, stack = given.state["h"], list(given.state["s"].unbind(1))
    empty = torch.full_like(stack[0], -1)
    outputs = []
    for x in given.inputs["x"].unbind(1):
        h = (linear(x, p["U"]) + linear(h, p["R"]) + linear(torch.stack(stack[:seen], 1), p["P"])).sigmoid()
        push, pop = (h @ p["A"].T).softmax(1).unbind(1)
        above = [(h @ p["E"]).sigmoid(), *stack]
        stack = [push * above[i] + pop * (stack[i + 1] if i + 1 < depth else empty) for i in range(depth)]
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h, "state.s": torch.stack(stack, 1)}


def ntm(given: Given) -> Tensors:
    """Shifts as circular convolutions by the fast Fourier transform; the controller is a cell of torch."""
    p, state, width = given.params, dict(given.state), given.sizes["M"]
    slots = given.sizes["N"]

    def focus(head: str, w: torch.Tensor) -> torch.Tensor:
        k, beta, g, s, gamma = linear(h, p[f"W_{head}"], p[f"b_{head}"]).split([width, 1, 1, 3, 1], 1)
        content = (softplus(beta) * cosine_similarity(memory, k[:, None], dim=-1, eps=0)).softmax(1)
        mixed = torch.lerp(w, content, g.sigmoid())
        kernel = torch.zeros_like(mixed).index_add(1, torch.tensor([-1, 0, 1]) % slots, s.softmax(1))
        shifted = torch.fft.irfft(torch.fft.rfft(mixed) * torch.fft.rfft(kernel), n=slots)
        sharp = shifted ** (1 + softplus(gamma))
        return sharp / sharp.sum(1, keepdim=True)

    memory, read, write, r = (state[name] for name in ("memory", "read", "write", "r"))
    h, c = state["lstm.h"], state["lstm.c"]
    weights = [p[f"lstm.{name}"] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    outputs, reads = [], []
    for x in given.inputs["x"].unbind(1):
        h, c = torch.lstm_cell(torch.cat([x, r], 1), (h, c), *weights)
        write = focus("write", write)
        erase, add = linear(h, p["W_erase"], p["b_erase"]).sigmoid(), linear(h, p["W_add"], p["b_add"]).tanh()
        memory = memory - write[..., None] * (erase[:, None] * memory - add[:, None])
        read = focus("read", read)
        r = torch.einsum("bn,bnm->bm", read, memory)
        outputs.append(h)
        reads.append(r)
    finals = {"state.memory": memory, "state.read": read, "state.write": write}
    return {"h": torch.stack(outputs, 1), "r": torch.stack(reads, 1), **finals}


def dnc(given: Given) -> Tensors:
    """Slots are sorted by usage and freed by a running product, as published; read heads one after the other."""
    p, sizes, state = given.params, given.sizes, given.state
    slots, width, heads = sizes["N"], sizes["M"], sizes["R"]
    lstm = [p[f"lstm.{name}"] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    eye = torch.eye(slots, dtype=torch.float64)
    h, c, r, memory = state["lstm.h"], state["lstm.c"], state["r"].flatten(1), state["memory"]
    usage, precedence, write, links = (state[name] for name in ("usage", "precedence", "write", "links"))
    reads = state["read"].unbind(1)

    def lookup(key: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        return ((1 + softplus(strength)) * cosine_similarity(memory, key[:, None], dim=-1)).softmax(1)

    outputs = []
    for x in given.inputs["x"].unbind(1):
        h, c = torch.lstm_cell(torch.cat([x, r], 1), (h, c), *lstm)
        parts = [heads * width, heads, width, 1, width, width, heads, 1, 1, 3 * heads]
        kr, br, kw, bw, erase, value, free, ga, gw, modes = linear(h, p["interface"]).split(parts, 1)
        retained = torch.stack([1 - free[:, [i]].sigmoid() * reads[i] for i in range(heads)]).prod(0)
        usage = (1 - (1 - usage) * (1 - write)) * retained
        ordered, order = usage.sort(dim=1, stable=True)
        before = torch.cat([torch.ones_like(ordered[:, :1]), ordered.cumprod(1)[:, :-1]], 1)
        free_slots = torch.zeros_like(usage).scatter(1, order, (1 - ordered) * before)
        write = gw.sigmoid() * torch.lerp(lookup(kw, bw), free_slots, ga.sigmoid())
        memory = memory * (1 - write[..., None] * erase.sigmoid()[:, None]) + write[..., None] * value[:, None]
        to, origin = write[:, :, None], write[:, None, :]
        links = ((1 - to - origin) * links + to * precedence[:, None, :]) * (1 - eye)
        precedence = (1 - write.sum(1, keepdim=True)) * precedence + write
        mixed = []
        for w, key, strength, mode in zip(reads, kr.chunk(heads, 1), br.split(1, 1), modes.split(3, 1)):
            ways = [torch.einsum("bj,bji->bi", w, links), lookup(key, strength), torch.einsum("bij,bj->bi", links, w)]
            mixed.append(torch.einsum("bw,wbi->bi", mode.softmax(1), torch.stack(ways)))
        reads = tuple(mixed)
        r = torch.cat([torch.einsum("bi,bim->bm", w, memory) for w in reads], 1)
        outputs.append(linear(h, p["Wy"]) + linear(r, p["Wr"]))
    finals = {"usage": usage, "precedence": precedence, "write": write, "links": links, "memory": memory}
    return {"y": torch.stack(outputs, 1), **{f"state.{name}": value for name, value in finals.items()}}


def entity_network(given: Given) -> Tensors:
    """All slots at once, with functions of torch."""
    p, h = given.params, given.state["h"]
    outputs = []
    for s in given.inputs["s"].unbind(1):
        gate = torch.einsum("bd,bnd->bn", s, h + p["w"]).sigmoid()
        candidate = linear(h, p["U"]) + linear(p["w"], p["V"]) + linear(s, p["W"])[:, None]
        active = prelu(candidate.flatten(0, 1), p["slope"]).view_as(h)
        h = normalize(torch.addcmul(h, gate[..., None], active), dim=-1)
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h}


def relational_memory(given: Given) -> Tensors:
    """Attention, norms and the gates' cell are torch's; a slot is a member of the batch to the latter."""
    p, sizes = given.params, given.sizes
    width = sizes["F"]
    attention = torch.nn.MultiheadAttention(width, sizes["N"], batch_first=True, dtype=torch.float64)
    projections = {
        "in_proj_weight": "W_in",
        "in_proj_bias": "b_in",
        "out_proj.weight": "W_out",
        "out_proj.bias": "b_out",
    }
    weights = {theirs: p[f"multihead_attention.{ours}"] for theirs, ours in projections.items()}
    memory, h = given.state["M"], given.state["h"]
    gates = ("i", "f", "o")
    W, U, b = (torch.cat([p[f"{kind}{gate}"] for gate in gates]) for kind in "WUb")
    outputs = []
    for x in given.inputs["x"].unbind(1):
        rows = torch.cat([memory, linear(x, p["W_x"], p["b_x"])[:, None]], 1)
        read, _ = torch.func.functional_call(attention, weights, (memory, rows, rows))
        a = layer_norm(memory + read, [width], p["gamma1"], p["beta1"])
        inner = linear(linear(a, p["W1"], p["b1"]).relu(), p["W2"], p["b2"])
        proposal = layer_norm(a + inner, [width], p["gamma2"], p["beta2"])
        i, f, o = (linear(x, W, b)[:, None] + linear(h, U)).sigmoid().chunk(3, 2)
        memory = torch.addcmul(f * memory, i, proposal)
        h = o * memory.tanh()
        outputs.append(h)
    return {"h": torch.stack(outputs, 1), "state.h": h, "state.M": memory}


ROWS: tuple[Row, ...] = (
    Row("stack_rnn", {**SIZES, "N": 6, "K": 2}, "brute force: number by number", stack_rnn),
    Row(
        "ntm",
        {"D": 3, "H": 4, "N": 6, "M": 5},
        "torch.fft: circular convolutions as shifts; torch.lstm_cell",
        ntm,
        ranges={"read": unit, "write": unit},
        flat=("start",),  # the memory is given
    ),
    Row(
        "dnc",
        {"D": 3, "H": 4, "N": 5, "M": 3, "R": 2, "O": 6},
        "second derivation: slots sorted by usage, heads in turn",
        dnc,
        ranges=dict.fromkeys(("usage", "precedence", "write", "links", "read"), unit),
    ),
    Row("relational_memory", {"D": 3, "S": 4, "F": 6, "N": 2}, "torch.nn.MultiheadAttention", relational_memory),
    Row("entity_network", {"N": 3, "D": 5}, "second derivation: all slots at once", entity_network),
)
