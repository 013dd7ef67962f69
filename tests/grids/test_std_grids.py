"""What the library's programs over grids are known for: where a source goes, what stays bounded, closed forms."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest

import lsrl
from lsrl import graphs

Array = np.ndarray[Any, np.dtype[Any]]
ONE = {"N": 1, "K": 1, "V": 1}


def gates(sides: tuple[int, ...], **values: float) -> dict[str, Array]:
    """Gates [1, *sides, 1] that are the same at each place."""
    return {name: np.full((1, *sides, 1), value) for name, value in values.items()}


def impulse(program: str, sides: tuple[int, int], **transitions: float) -> dict[str, Array]:
    """What arrives at each place, by state, of 1 that the first place writes to both of its edges."""
    source = np.zeros((1, *sides, 1))
    source[0, 0, 0] = 1
    memory = {"q": np.ones((1, *sides, 1, 1)), "k": np.ones((1, *sides, 1, 1)), "v": np.ones((1, *sides, 1, 1))}
    run = lsrl.compile(lsrl.load(f"std/{program}"), target="reference", sizes=ONE)

    def read(right: float, down: float) -> Array:
        marks = gates(sides, mr=right, md=down, d=0)
        found = run({}, {**memory, **gates(sides, **transitions), **marks, "sr": source, "sd": source}).outputs["o"]
        return np.asarray(found[0, :, :, 0, 0])

    return {"R": read(1, 0), "D": read(0, 1)}


@pytest.mark.parametrize("a", [0.3, 0.5, 0.8])
def test_p_mode_spreads_a_source_as_a_binomial(a: float) -> None:
    found = impulse("plstm2d", (7, 7), a=a, gamma=1)
    arriving = found["R"] + found["D"]
    for y in range(6):
        for x in range(7 - y):
            n = x + y  # steps; the first of them divides nothing
            right = comb(n - 1, x - 1) * a ** (x - 1) * (1 - a) ** y if x else 0
            down = comb(n - 1, y - 1) * a**x * (1 - a) ** (y - 1) if y else 0
            wanted = right + down if n else 0
            assert arriving[y, x] == pytest.approx(wanted, rel=1e-12)
    for n in range(1, 7):
        assert sum(arriving[y, n - y] for y in range(n + 1)) == pytest.approx(2, rel=1e-12)


def test_decay_is_per_step() -> None:
    kept, decayed = (impulse("plstm2d", (5, 5), a=0.4, gamma=gamma)["R"] for gamma in (1, 0.9))
    steps = np.add.outer(np.arange(5), np.arange(5))
    np.testing.assert_allclose(decayed, kept * 0.9 ** np.maximum(steps - 1, 0), rtol=1e-12)


def test_the_published_form_grows_where_its_factor_is_negative() -> None:
    """With t = -0.35 an edge passes on 1.7 in absolute values; in the paper's form it is gamma at most."""
    graph, axes = graphs.grid(4, 4)
    right = axes[graph.turns[:, 1]] == 1
    weights = np.where(right, -0.35, 1.35)
    with pytest.raises(graphs.GraphError, match=r"sum to 1\.7, more than 1"):
        graphs.check_sums(graph, weights)
    graphs.check_sums(graph, np.where(right, 0.9 * 0.7, 0.9 * 0.3))


def test_d_mode_goes_one_way_only() -> None:
    """Down, then to the right: a product of transitions at every place, no sum."""
    rr, rd, dd = 0.9, 0.7, 0.8
    found = impulse("plstm2d_d", (5, 6), rr=rr, rd=rd, dd=dd)
    for y in range(5):
        for x in range(6):
            right = rr ** (x - 1) if y == 0 and x else dd ** (y - 1) * rd * rr ** (x - 1) if y and x else 0
            assert found["R"][y, x] == pytest.approx(right, rel=1e-12, abs=1e-15)
            assert found["D"][y, x] == pytest.approx(dd ** (y - 1) if x == 0 and y else 0, rel=1e-12, abs=1e-15)


def test_the_other_turn_is_the_transposed_grid() -> None:
    generator = np.random.default_rng(0)
    sizes = {"N": 2, "K": 3, "V": 2}
    shapes = {"q": (3,), "k": (3,), "v": (2,), **dict.fromkeys(("rr", "rd", "dd", "sr", "sd", "mr", "md", "d"), ())}
    inputs = {name: generator.normal(size=(2, 3, 5, 2, *shape)) for name, shape in shapes.items()}
    renamed = {"rr": "dd", "dd": "rr", "rd": "dr", "sr": "sd", "sd": "sr", "mr": "md", "md": "mr"}
    turned = {renamed.get(name, name): array.swapaxes(1, 2) for name, array in inputs.items()}
    one, other = (
        lsrl.compile(lsrl.load(f"std/{name}"), target="reference", sizes=sizes)
        for name in ("plstm2d_d", "plstm2d_d_mirrored")
    )
    np.testing.assert_allclose(one({}, inputs).outputs["o"], other({}, turned).outputs["o"].swapaxes(1, 2), rtol=1e-12)


def test_a_grid_of_one_row_is_the_chain() -> None:
    generator = np.random.default_rng(0)
    sizes = {"N": 2, "K": 3, "V": 2}
    shapes = {"q": (3,), "k": (3,), "v": (2,), "s": (), "f": (), "m": (), "d": ()}
    inputs = {name: generator.normal(size=(2, 6, 2, *shape)) for name, shape in shapes.items()}
    chain = lsrl.compile(lsrl.load("std/plstm1d"), target="reference", sizes=sizes)({}, inputs).outputs["o"]
    names = {"s": "sr", "f": "gamma", "m": "mr"}
    row = {names.get(name, name): array[:, None] for name, array in inputs.items()}
    row |= {"a": np.ones((2, 1, 6, 2)), "sd": row["sr"], "md": row["mr"]}
    grid = lsrl.compile(lsrl.load("std/plstm2d"), target="reference", sizes=sizes)({}, row).outputs["o"]
    np.testing.assert_allclose(grid[:, 0], chain, rtol=1e-12)


def test_a_grid_is_a_graph() -> None:
    """The program over graphs with the grid's edges and turns computes what the program over grids does."""
    generator = np.random.default_rng(0)
    sizes, sides = {"N": 2, "K": 3, "V": 2}, (3, 4)
    shapes = {"q": (3,), "k": (3,), "v": (2,), **dict.fromkeys(("rr", "rd", "dd", "sr", "sd", "mr", "md", "d"), ())}
    inputs = {name: generator.normal(size=(1, *sides, 2, *shape)) for name, shape in shapes.items()}
    wanted = lsrl.compile(lsrl.load("std/plstm2d_d"), target="reference", sizes=sizes)({}, inputs).outputs["o"]
    graph, axes = graphs.grid(*sides)
    graph = graph.with_turns(graphs.grid_turns(graph, axes, order=[0, 1]))
    of_node = {name: array.reshape(-1, *array.shape[3:]) for name, array in inputs.items()}
    tail, head = graph.edges.T
    right = axes[:, None] == 1
    before, after = graph.turns.T
    middle = graph.edges[before, 1]
    same = np.where(right[after], of_node["rr"][middle], of_node["dd"][middle])
    given = {
        **{name: of_node[name] for name in ("q", "k", "v", "d")},
        "s": np.where(right, of_node["sr"][tail], of_node["sd"][tail]),
        "m": np.where(right, of_node["mr"][head], of_node["md"][head]),
        "t": np.where(axes[before][:, None] == axes[after][:, None], same, of_node["rd"][middle]),
    }
    found = lsrl.compile(lsrl.load("std/plstm_graph"), target="reference", sizes=sizes)({}, {**given, **graph.inputs})
    np.testing.assert_allclose(found.outputs["o"], wanted.reshape(-1, 2, 2), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("target", ["reference", "jax"])
def test_transducer_of_even_odds_counts_paths(target: str) -> None:
    """Each of the binomially many paths to (t, u) has the probability 2^-(t + u)."""
    half = np.full((1, 6, 5), np.log(0.5))
    run = lsrl.compile(lsrl.load("std/rnnt_lattice"), target=target)
    found = np.asarray(run({}, {"blank": half, "label": half}).outputs["alpha"])[0]
    wanted = [[comb(t + u, u) / 2 ** (t + u) for u in range(5)] for t in range(6)]
    np.testing.assert_allclose(np.exp(found), wanted, rtol=1e-12 if target == "reference" else 1e-5)


def test_the_stable_memory_is_bounded_where_the_plain_one_doubles() -> None:
    """Open gates: kept is everything that arrives, twice of it in the plain cell."""
    grown = {}
    for name in ("mdlstm", "mdlstm_stable"):
        run = lsrl.compile(lsrl.load(f"std/{name}"), target="reference", sizes={"D": 1, "H": 1})
        params = {key: np.zeros_like(value) for key, value in run.init(seed=0).items()}
        params["b"] = np.array([40.0, 40.0, 0.0 if name == "mdlstm_stable" else 40.0, 40.0, 40.0])
        c = run(params, {"u": np.zeros((1, 9, 9, 1))}).state["c.x"][0, :, 0]
        grown[name] = float(c[-1])
    assert grown["mdlstm_stable"] <= 17 + 1e-9  # 1 for each step
    assert grown["mdlstm"] > 2**14


def test_state_tracking_follows_permutations() -> None:
    """With permutations as transitions, what the first place writes into one layer is read from another."""
    run = lsrl.compile(lsrl.load("std/plstm2d_tracking"), target="reference", sizes={"N": 1, "K": 1, "V": 1, "J": 3})
    length = 5
    turn = np.roll(np.eye(3), 1, axis=0)  # from layer j to j + 1
    lead = (1, 1, length, 1)
    inputs = {name: np.ones((*lead, 1, 3)) for name in "qkv"}
    inputs |= {name: np.zeros((*lead, 3, 3)) for name in ("rd", "dr", "dd")} | {
        "rr": np.broadcast_to(turn, (*lead, 3, 3))
    }
    inputs |= {name: np.zeros((*lead, 3, 3, 3)) for name in ("sr", "sd", "mr", "md")} | {
        "d": np.zeros((*lead, 3, 3, 3, 3))
    }
    inputs["sr"][0, 0, 0, 0, 0, 0, 0] = 1  # the first place writes to layer 0
    inputs["mr"][..., range(3), 0, range(3)] = 1  # output i reads layer i
    found = run({}, inputs).outputs["o"][0, 0, 1:, 0, 0]
    np.testing.assert_allclose(found, np.eye(3)[np.arange(length - 1) % 3])


def test_levels_as_an_axis_compute_what_unrolled_levels_do() -> None:
    generator = np.random.default_rng(0)
    sizes, levels, length = {"D": 3, "H": 2}, 4, 6
    params = {"W": generator.normal(size=(8, 5, 2)), "b": generator.normal(size=8)}
    x = generator.normal(size=(2, length, 3))
    unrolled = lsrl.compile(lsrl.load("std/trellis_net"), target="reference", sizes={**sizes, "L": levels})
    wanted = unrolled({f"level.{name}": array for name, array in params.items()}, {"x": x}).outputs["z"]
    grid = lsrl.compile(lsrl.load("std/trellis_grid"), target="reference", sizes=sizes)
    found = grid(params, {}, {"x": x}, batch=2, length=(levels, length))
    np.testing.assert_allclose(found.state["z"], wanted, rtol=1e-12)
