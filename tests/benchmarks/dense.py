"""Dense recurrences: LSTM, GRU, cells that PyTorch lacks, and cells in heads, beside the libraries that have them.

    python tests/benchmarks/dense.py [--quick] [--device cuda] [-o FILE.json]

A cell that `torch.nn` lacks stands beside `torch.nn.LSTM` as a yardstick: times per matrix product are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dense_peers
import numpy as np
import peers_torch
from dense_names import COMPILED, FLASH, LAX, LSTM_PRODUCTS, NN, RECURRENT, YARDSTICK
from drawing import Source, batch_major, time_major
from families import CUDA, FLOAT, Family, Missing, Row, Work, both
from running import run
from ways import Arrays, Layer, Way

PARAMS: Mapping[str, Mapping[str, str]] = {
    "std/lstm": {"W_ih": "4H D", "W_hh": "4H H", "b_ih": "4H", "b_hh": "4H"},
    "std/gru": {"W_ih": "3H D", "W_hh": "3H H", "b_ih": "3H", "b_hh": "3H"},
    "std/rnn": {"W_ih": "H D", "W_hh": "H H", "b_ih": "H", "b_hh": "H"},
    "std/peephole_lstm": {
        **dict.fromkeys(("Wi", "Wf", "Wc", "Wo"), "H D"),
        **dict.fromkeys(("Ui", "Uf", "Uc", "Uo"), "H H"),
        **dict.fromkeys(("wi", "wf", "wo", "bi", "bf", "bc", "bo"), "H"),
    },
    "std/coupled_lstm": {
        **dict.fromkeys(("Wz", "Wi", "Wo"), "H D"),
        **dict.fromkeys(("Rz", "Ri", "Ro"), "H H"),
        **dict.fromkeys(("pi_", "po", "bz", "bi", "bo"), "H"),
    },
    "std/janet": {"Wf": "H D", "Wc": "H D", "Uf": "H H", "Uc": "H H", "bf": "H", "bc": "H"},
    "std/headwise_lstm": {
        **dict.fromkeys(("Ri", "Rf", "Rz", "Ro"), "N P P"),
        **dict.fromkeys(("bi", "bf", "bz", "bo"), "N P"),
    },
}
PARAMS = {**PARAMS, "std/slstm": PARAMS["std/headwise_lstm"]}
"""The shapes of what is learned, in sizes; `4H` is 4 times H."""
PRODUCTS = {
    **dict.fromkeys(("std/lstm", "std/peephole_lstm"), LSTM_PRODUCTS),
    "std/gru": 6,
    "std/coupled_lstm": 6,
    "std/janet": 4,
    "std/rnn": 2,
}
"""Matrix products of a step, those of its inputs too."""
GATES = ("i", "f", "z", "o")  # inputs of a cell in heads
OUTPUTS = {"std/coupled_lstm": "y"}


def _row(cell: str, batch: int, length: int, width: int, heads: int = 0, **more: object) -> Row:
    program = f"std/{cell}"
    sizes = {"N": heads, "P": width} if heads else {"D": width, "H": width}
    size = f"N={heads}, P={width}" if heads else f"H={width}"
    more = {"output": OUTPUTS.get(program, "h"), "products": PRODUCTS.get(program, 0), **more}
    return Row(f"{cell}, B={batch}, T={length}, {size}", program, batch, length, sizes, **more)  # type: ignore[arg-type]


LARGE = (16, 256, 512)
ROWS = (
    *(_row(cell, *LARGE, peers=(NN, LAX)) for cell in ("lstm", "gru")),
    _row("rnn", *LARGE, peers=(NN,)),
    *(_row(cell, *LARGE, peers=(RECURRENT, YARDSTICK)) for cell in ("peephole_lstm", "janet")),
    _row("coupled_lstm", *LARGE, peers=(YARDSTICK,)),
    *(_row(cell, 16, 256, 64, 8, peers=(FLASH,)) for cell in ("headwise_lstm", "slstm")),
    _row("headwise_lstm", 16, 256, 128, 4, peers=(FLASH,)),
    _row("lstm", 16, 16, 512, peers=(NN, COMPILED)),
    *(_row(cell, 16, 64, 64, peers=(NN, LAX), quick=True) for cell in ("lstm", "gru")),
    *(_row("lstm", 1, 256, width, peers=(NN, LAX)) for width in (64, 512)),
    _row("peephole_lstm", 4, 32, 32, peers=(RECURRENT, YARDSTICK), quick=True),
    _row("slstm", 2, 32, 16, 2, peers=(FLASH,), quick=True),
    *(_row(cell, 16, 1024, 768, device=CUDA, dtype="float16", peers=(NN,)) for cell in ("lstm", "gru")),
    *(
        _row(cell, 16, 1024, width, 768 // width, device=CUDA, dtype="bfloat16", peers=(FLASH,), quick=width == 64)
        for cell in ("headwise_lstm", "slstm")
        for width in (32, 64, 128, 256)
    ),
)


def draw(row: Row) -> tuple[Arrays, Arrays]:
    """Weights of a size that keeps the states alive, inputs of size 1."""
    source, scale = Source(), row.sizes.get("H", row.sizes.get("P", 1)) ** -0.5
    params = {name: source.normal(*_shape(row, words), scale=scale) for name, words in PARAMS[row.program].items()}
    if "P" in row.sizes:
        lead = (row.batch, row.length, row.sizes["N"], row.sizes["P"])
        return params, {name: source.normal(*lead) for name in GATES}
    return params, {"x": source.normal(row.batch, row.length, row.sizes["D"])}


def _shape(row: Row, words: str) -> tuple[int, ...]:
    """`4H D` in numbers."""
    return tuple(int(word[:-1] or 1) * row.sizes[word[-1]] for word in words.split())


def work(row: Row) -> Mapping[str, Work]:
    """Products of matrices with each position's input and state; their gradients are twice as many."""
    places = row.batch * row.length
    shapes = {name: _shape(row, words) for name, words in PARAMS[row.program].items()}
    weights = sum(int(np.prod(shape)) for shape in shapes.values())
    matrices = sum(int(np.prod(shape)) for name, shape in shapes.items() if len(shape) == _rank(row))
    width = row.sizes["H"] if "H" in row.sizes else row.sizes["N"] * row.sizes["P"]
    given = row.sizes["D"] if "D" in row.sizes else len(GATES) * width
    unit, operations = FLOAT[row.dtype], 2 * places * matrices
    forward = Work(unit * (places * (given + width) + weights), operations, row.length)
    return both(forward, Work(3 * forward.bytes, 3 * operations, 2 * row.length))


def _rank(row: Row) -> int:
    """Axes of a matrix."""
    return 3 if "P" in row.sizes else 2


def peers(row: Row) -> Iterator[Way | Layer | Missing]:
    for name in row.peers:
        if name == NN:
            yield dense_peers.torch_nn(row.program)
        elif name == YARDSTICK:
            yield dense_peers.yardstick()
        elif name == LAX:
            yield dense_peers.lax(row.program)
        elif name == RECURRENT:
            yield dense_peers.torchrecurrent(row.program)
        elif name == FLASH:
            yield from dense_peers.flashrnn(row)
        elif name == COMPILED:
            yield Way(COMPILED, "torch", peers_torch.compiled(peers_torch.lstm_loop), time_major, batch_major)
            yield Way("PyTorch loop", "torch", peers_torch.lstm_loop, time_major, batch_major)


FAMILY = Family(
    name="dense",
    about="dense recurrences beside the libraries that have them",
    rows=ROWS,
    draw=draw,
    peers=peers,
    work=work,
    packages=("torchrecurrent", "flashrnn"),
)

if __name__ == "__main__":
    run(FAMILY)
