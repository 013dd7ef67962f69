"""A scanned loop in plain PyTorch: its step for all positions at once, around scans in tiles of positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lsrl.backends.expressions import Code, method
from lsrl.backends.identifiers import identifiers
from lsrl.backends.thin import thin_values
from lsrl.backends.torch_frame import SEQUENCE, Frame
from lsrl.backends.torch_loop import PlainLoop
from lsrl.backends.torch_stages import Stages
from lsrl.backends.writer import Writer
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan import Plan, Primitive, make_plan
from lsrl.ir.schedules.how import Scan
from lsrl.ir.value import Kind, Value, depends_on


def write_plain_scan(name: str, plain: PlainLoop, writer: Writer) -> None:
    """The function `name`, which takes and gives what the loop over positions does."""
    body = Writer(depth=1)
    results = _write_body(plain, body)
    used = identifiers(str(body))
    arguments = plain.arguments
    with writer.block(f"def {name}({', '.join((*arguments.tensors, *arguments.extent, *arguments.options))}):"):
        writer.docstring(plain.docstring("scanned"))
        told = {"batch": f"{arguments.starts[0]}.shape[0]", "device": f"{arguments.starts[0]}.device"}
        if arguments.reads:
            told["length"] = f"{arguments.reads[0]}.shape[1]"
        for variable, code in told.items():
            if variable in used:
                writer.line(f"{variable} = {code}")
        writer.append(body)
        writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")


def _write_body(plain: PlainLoop, writer: Writer) -> list[str]:
    """All but the last statement; what that returns."""
    cell, arguments = plain.loop.cell, plain.arguments
    plan = make_plan(cell, plain.frame.numbers, hows={state.name: Scan() for state in cell.states})
    frame = _frame(plain, plan, writer)
    starts = {state.name: start for state, start in zip(cell.states, arguments.starts, strict=True)}
    stages = Stages(plan, frame, {}, starts, [*(o.value for o in cell.outputs), *_saved(plain, plan).values()])
    for (op, _), leaf in plain.leaves.items():
        if op != "state":
            stages.statements.bind(leaf)
    plain.widen(writer)
    stages.write()
    statics = stages.missing_statics([output.value for output in cell.outputs])
    stages.statements.write(statics, {*statics})
    codes = stages.statements.codes
    results = [_kept(frame, output.value, codes) for output in cell.outputs]
    results += [stages.final[state.name] for state in cell.states]
    options = ", reverse=True" if plain.loop.reverse else ""
    return results + [f"every_so_many({codes[leaf]}, every{options})" for leaf in _saved(plain, plan).values()]


def _frame(plain: PlainLoop, plan: Plan, writer: Writer) -> Frame:
    """The loop's values for all positions."""
    forms = [stage.form for stage in plan.stages if isinstance(stage, Primitive)]
    crossing = {value for form in forms for value in (*form.operands, *form.results)}
    varying = depends_on(plan.roots, lambda value: value.op in VARYING)
    thin = thin_values(plan.roots, {*plan.roots, *crossing})
    return replace(plain.frame, lead=SEQUENCE, varying=varying, thin=thin, writer=writer)


def _saved(plain: PlainLoop, plan: Plan) -> dict[str, Value]:
    """The leaves of the states whose arriving values are kept."""
    forms = [stage.form for stage in plan.stages if isinstance(stage, Primitive)]
    leaves = {str(v.attr("name")): v for form in forms for v in form.results if v.op == "state"}
    return {name: leaves[name] for name in plain.loop.saved}


def _kept(frame: Frame, value: Value, codes: Mapping[Value, Code]) -> str:
    """What is kept of every position, in the type in which it is stored."""
    code = frame.array(value, codes).wide().code
    narrow = frame.types.narrow and value.kind is Kind.FLOAT
    return str(method(code, "to", frame.types.data) if narrow else code)
