"""`--schedule`: what a text asks for, what is refused and why, and that a schedule printed resolves to itself."""

from __future__ import annotations

import pytest

import lsrl
from lsrl.ir.cell import Cell
from lsrl.ir.laws import simplify
from lsrl.ir.schedules.cost import Run
from lsrl.ir.schedules.how import Chunk, How, HowError, Newton, Quadratic, Scan, Sequential
from lsrl.ir.schedules.legal import Possible, possible
from lsrl.schedule import ScheduleError, resolve

ALL: tuple[type[How], ...] = (Sequential, Scan, Chunk, Newton, Quadratic)
TWO = """cell two(D):
    input x, u: [D]
    state h, g: [D] = 0
    h' = 0.5 * h + x
    g' = tanh(g + h' + u)
    output g'
"""


def recurrences(name: str, **sizes: int) -> tuple[Cell, tuple[Possible, ...]]:
    program = lsrl.parse(name) if name.startswith("cell") else lsrl.load(f"std/{name}")
    cell, bound = program.bind(sizes)
    simple = simplify(cell)
    return simple, possible(simple, bound, ALL)


MLSTM = recurrences("mlstm", N=2, K=8, V=4)
GRU = recurrences("gru", D=3, H=16)
SQUARE = recurrences(
    """cell square(D):
    input x: [D]
    state h: [D] = 0
    h' = (h / 2 + x) * dot(h, h)
    output h'
""",
    D=16,
)
DELTA = recurrences("gated_delta", N=2, K=16, V=4)


@pytest.mark.parametrize(
    ("text", "hows"),
    [
        ("sequential", (Sequential(), Sequential(), Sequential())),
        ("scan", (Scan(), Scan(), Scan())),
        ("scan, C=chunk(64)", (Scan(), Chunk(64), Scan())),
        ("m=scan,C=parallel,n=sequential(recompute=64)", (Scan(), Quadratic(), Sequential(recompute=64))),
        ("C = chunk ( 64 ),m=sequential(save), n=scan", (Sequential(save=True), Chunk(64), Scan())),
    ],
)
def test_a_text_gives_every_recurrence_a_schedule(text: str, hows: tuple[How, ...]) -> None:
    schedule = resolve(*MLSTM, text)
    assert tuple(schedule.hows[name] for name in "mCn") == hows
    assert resolve(*MLSTM, str(schedule)) == schedule


def test_commas_inside_brackets_do_not_part_directives() -> None:
    schedule = resolve(*recurrences(TWO, D=3), "g=newton(window=32, iterations=4),h=scan")
    assert schedule.hows == {"h": Scan(), "g": Newton(32, 4)}
    assert str(schedule) == "h=scan,g=newton(window=32, iterations=4)"


def test_auto_is_open_to_the_model_and_printed_as_what_it_chose() -> None:
    schedule = resolve(*MLSTM, "C=auto, m=scan, n=auto", Run("triton", "h100"))
    assert schedule.hows["m"] == Scan()
    assert "auto" not in str(schedule)


@pytest.mark.parametrize(
    ("found", "text", "says"),
    [
        (GRU, "scan", "`h'` is not affine in `h` (std/gru.lsrl:16: sigmoid), so `scan` would be wrong; "),
        (GRU, "h=chunk(16)", "so `chunk` would be wrong; `sequential` is legal: it is what the program says"),
        (MLSTM, "m=chunk", "`m'` is not affine in `m` (std/mlstm.lsrl:11: max), so `chunk` would be wrong; "),
        (MLSTM, "m=chunk", "`scan` is legal: `m'` is affine in `m` over (max, +)"),
        (MLSTM, "chunk", "so `chunk` would be wrong"),
        (DELTA, "S=scan", "cheap up to 8 rows (std/gated_delta.lsrl:7), so `scan` cannot run it; "),
        (DELTA, "S=scan", "`chunk` is legal: `S'` is affine in `S`, the transition of `S` is diagonal + low rank"),
        (GRU, "z=scan", "gru has no recurrence `z`; its recurrences are h"),
        (GRU, "dag", "the states of gru do not travel on a grid"),
        (SQUARE, "scan", "`h'` is not affine in `h` (<text>:4: dot(h, h)), so `scan` would be wrong; "),
        (MLSTM, "C=scan,C=chunk", "`C` is to run as `scan` and as `chunk`"),
    ],
)
def test_a_refusal_names_the_failing_fact_its_place_and_what_is_legal(
    found: tuple[Cell, tuple[Possible, ...]], text: str, says: str
) -> None:
    with pytest.raises(ScheduleError) as refused:
        resolve(*found, text)
    assert says in str(refused.value)


@pytest.mark.parametrize("text", ["fast", "", "m=", "chunk(0)", "chunk(16, 32)", "scan(3)", "m=sequential(keep)"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(HowError):
        resolve(*MLSTM, text)


def test_a_target_without_a_schedule_says_so() -> None:
    cell, _ = MLSTM
    found = possible(cell, {"N": 2, "K": 8, "V": 4}, (Sequential,))
    assert str(resolve(cell, found)) == "m=sequential,C=sequential,n=sequential"
    with pytest.raises(ScheduleError, match="the target does not have it"):
        resolve(cell, found, "C=scan")


def test_states_that_need_each_other_share_a_schedule() -> None:
    cell, found = recurrences("lstm", D=3, H=5)
    for name in "hc":
        assert set(resolve(cell, found, f"{name}=sequential(save)").hows.items()) == {
            ("h", Sequential(save=True)),
            ("c", Sequential(save=True)),
        }
