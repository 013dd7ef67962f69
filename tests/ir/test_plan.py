"""What runs where: recurrences, hoisting, the border of a loop, gate fusion."""

from __future__ import annotations

import pytest

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Input, Output, Param, Size, State
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.pipeline import PipelineError, components
from lsrl.ir.plan import Loop, Parallel, Plan, PlanError, Shift, make_plan
from lsrl.ir.products import fuse_products, split_products
from lsrl.ir.value import Kind, Value, postorder

H, D, K, V = (Dim.of(name) for name in "HDKV")
SIZES = {"H": 16, "D": 8, "K": 16, "V": 16}
FLOAT = Kind.FLOAT


def input_(name: str, *shape: Dim) -> Value:
    return ops.leaf("input", name, shape, FLOAT)


def param(name: str, *shape: Dim) -> Value:
    return ops.leaf("param", name, shape, FLOAT)


def carried(name: str, *shape: Dim) -> Value:
    return ops.state(name, "t", shape, FLOAT)


def state(name: str, shape: Shape, following: Value, reverse: bool = False) -> State:
    return State(name, shape, FLOAT, ("t",), build.zeros(shape), following, frozenset("t" if reverse else ()))


def cell(states: list[State], outputs: dict[str, Value], axes: tuple[str, ...] = ("t",)) -> Cell:
    leaves = list(dict.fromkeys(postorder([*outputs.values(), *(s.next for s in states)])))
    inputs = tuple(Input(str(v.attr("name")), v.shape) for v in leaves if v.op == "input")
    params = tuple(
        Param(str(v.attr("name")), v.shape, FLOAT, Distribution("normal")) for v in leaves if v.op == "param"
    )
    sizes = tuple(Size(name) for name in SIZES)
    return Cell(
        "test", "", sizes, axes, inputs, params, (), tuple(states), tuple(Output(n, v) for n, v in outputs.items())
    )


def loops(plan: Plan) -> list[Loop]:
    return [stage for stage in plan.stages if isinstance(stage, Loop)]


def mingru(suffix: str, x: Value, reverse: bool = False) -> tuple[State, Value]:
    h = carried(f"h{suffix}", H)
    z = build.unary("sigmoid", build.matmul(param(f"Wz{suffix}", H, x.shape[0]), x))
    following = build.add(
        build.mul(build.sub(1, z), h), build.mul(z, build.matmul(param(f"Wh{suffix}", H, x.shape[0]), x))
    )
    return state(f"h{suffix}", (H,), following, reverse), following


def test_input_projections_leave_the_loop_as_one_product() -> None:
    recurrent, h = mingru("", input_("x", D))
    plan = make_plan(fuse_products(cell([recurrent], {"h": h})), SIZES)
    before, loop = plan.stages
    assert isinstance(before, Parallel)
    assert isinstance(loop, Loop)
    assert [v.op for v in before.values].count("einsum") == 1
    assert {v.op for v in loop.body} == {"mul", "add"}
    assert loop.emits == (plan.cell.outputs[0].value,)


def test_elementwise_work_stays_inside_when_asked() -> None:
    recurrent, h = mingru("", input_("x", D))
    plan = make_plan(fuse_products(cell([recurrent], {"h": h})), SIZES, hoist_elementwise=False)
    assert {v.op for v in loops(plan)[0].body} == {"sigmoid", "sub", "mul", "add"}


def test_outer_products_are_not_materialised_over_time_and_the_readout_is_fused() -> None:
    k, v, q, decay = input_("k", K), input_("v", V), input_("q", K), input_("a")
    S = carried("S", K, V)
    following = build.add(build.mul(decay, S), build.outer(k, v))
    loop = loops(make_plan(cell([state("S", (K, V), following)], {"o": build.matmul(q, following)}), SIZES))[0]
    assert all(read.rank <= 1 for read in loop.reads)
    assert [emit.shape for emit in loop.emits] == [(V,)]


def test_a_wide_readout_leaves_the_loop() -> None:
    recurrent, h = mingru("", input_("x", D))
    logits = build.matmul(param("W", 64 * V, H), h)
    plan = make_plan(cell([recurrent], {"y": logits}), SIZES)
    assert loops(plan)[0].emits == (h,)
    last = plan.stages[-1]
    assert isinstance(last, Parallel)
    assert last.values == (logits,)


def test_a_stack_is_a_sequence_of_loops_with_one_product_between() -> None:
    first, h1 = mingru("1", input_("x", D))
    second, h2 = mingru("2", h1)
    plan = make_plan(fuse_products(cell([first, second], {"h": h2})), SIZES)
    assert [type(stage) for stage in plan.stages] == [Parallel, Loop, Parallel, Loop]


def test_states_tied_by_light_work_share_a_loop() -> None:
    x, n, m = input_("x", H), carried("n", H), carried("m", H)
    m_next = build.binary("max", m, x)
    n_next = build.add(build.mul(build.unary("exp", build.sub(m, m_next)), n), x)
    made = cell([state("n", (H,), n_next), state("m", (H,), m_next)], {"y": build.div(n_next, m_next)})
    assert [part.names for part in components(made)] == [{"m"}, {"n"}]
    assert [s.name for s in loops(make_plan(made, SIZES))[0].states] == ["n", "m"]
    assert len(make_plan(made, SIZES).stages) == 1


def test_a_lag_is_a_shift_of_the_whole_sequence() -> None:
    x = input_("x", H)
    lagged = carried("x[t-1]", H)
    plan = make_plan(cell([state("x[t-1]", (H,), x)], {"y": build.sub(x, lagged)}), SIZES)
    assert [type(stage) for stage in plan.stages] == [Shift, Parallel]


def test_opposite_directions_are_separate_loops_and_a_cycle_between_them_is_an_error() -> None:
    x = input_("x", D)
    forward, h1 = mingru("1", x)
    backward, h2 = mingru("2", x, reverse=True)
    plan = make_plan(cell([forward, backward], {"y": build.add(h1, h2)}), SIZES)
    assert [loop.reverse for loop in loops(plan)] == [frozenset(), {"t"}]
    a, b = carried("a", H), carried("b", H)
    with pytest.raises(PipelineError, match="opposite directions"):
        components(cell([state("a", (H,), b), state("b", (H,), a, True)], {"y": a}))


def test_products_with_a_concatenation_are_taken_apart() -> None:
    x, h = input_("x", D), carried("h", H)
    following = build.unary("tanh", build.matmul(param("W", H, D + H), build.concat([x, h])))
    plan = make_plan(split_products(cell([state("h", (H,), following)], {"h": following})), SIZES)
    assert [v.op for v in loops(plan)[0].body] == ["einsum", "add", "tanh"]
    assert [read.shape for read in loops(plan)[0].reads] == [(H,)]


def test_a_graph_is_refused() -> None:
    with pytest.raises(PlanError, match="graph"):
        make_plan(cell([], {"y": input_("x", D)}, axes=("graph",)), SIZES)


def test_a_concatenation_outside_of_every_recurrence_stays_one_product() -> None:
    x, lagged = input_("x", D), carried("x[t-1]", D)
    y = build.matmul(param("W", H, D + D), build.concat([x, lagged]))
    made = cell([state("x[t-1]", (D,), x)], {"y": y})
    assert split_products(made) == made


def test_forty_lags_one_behind_the_other_are_planned() -> None:
    """Each is of what the ones before made, so that a search along every path would not end."""
    x, states = input_("x", D), []
    for number in range(40):
        states.append(state(f"x{number}", (D,), x))
        x = build.add(x, carried(f"x{number}", D))
    recurrence, h = mingru("1", x)
    plan = make_plan(cell([*states, recurrence], {"y": build.matmul(param("W", D, H), h)}), SIZES)
    assert len(loops(plan)) == 1
    assert sum(isinstance(stage, Shift) for stage in plan.stages) == 40
