"""A loop over a grid in plain PyTorch: its step as a function of all places of a wave, and what runs that."""

from __future__ import annotations

from lsrl.backends.expressions import tupled
from lsrl.backends.identifiers import identifiers
from lsrl.backends.places import travels
from lsrl.backends.torch_frame import SEQUENCE
from lsrl.backends.torch_loop import PlainLoop, write_function
from lsrl.backends.writer import Writer
from lsrl.ir.schedules.how import Dag
from lsrl.ir.value import Kind, Value, postorder


def write_waves(name: str, plain: PlainLoop, writer: Writer) -> None:
    """The function `name`: statics, the step, and `over_waves`."""
    body, frame = Writer(depth=1), plain.frame
    statements = frame.to(body).statements()
    plain.widen(body)
    for leaf in plain.leaves.values():
        statements.bind(leaf)
    plain.write_statics(frame.to(body), statements)
    inner = Writer(depth=2)
    statements.writer = inner
    cell, arguments = plain.loop.cell, plain.arguments
    steps = [v for v in postorder(cell.roots()) if v in frame.varying and v.args]
    nexts, outputs = [state.next for state in cell.states], [output.value for output in cell.outputs]
    statements.write(steps, {*outputs, *nexts} & {*steps})

    def kept(value: Value) -> str:
        code = frame.array(value, statements.codes).code
        return f"{code}.to({frame.types.data})" if frame.types.narrow and value.kind is Kind.FLOAT else str(code)

    following = [str(frame.array(value, statements.codes).code) for value in nexts]
    inner.line(f"return {tupled(following)}, {tupled([kept(value) for value in outputs])}")
    body.blank()
    with body.block(f"def advance({', '.join((*arguments.starts, *arguments.reads))}):"):
        _write_extent(body, inner, arguments.starts[0])
        body.append(inner)
    body.blank()
    body.line(f"return {call_over(plain, 'advance')}")
    write_function(name, plain, plain.docstring(f"over {' and '.join(cell.axes)}"), body, writer)


def _write_extent(writer: Writer, body: Writer, first: str) -> None:
    """The numbers of sequences and of places of the wave, where the text mentions them."""
    used = identifiers(str(body))
    for place, name in enumerate(SEQUENCE):
        if name in used:
            writer.line(f"{name} = {first}.shape[{place}]")


def call_over(plain: PlainLoop, step: str) -> str:
    """The call of what runs the function `step` at every place of a grid."""
    loop, arguments = plain.loop, plain.arguments
    names = [state.name for state in loop.cell.states]
    options = [f"{tupled([str(names.index(name)) for name in loop.saved])}", "every"] if loop.saved else []
    options += ["reverse=True"] if loop.reverse else []
    given = (tupled(arguments.starts), tupled(arguments.reads), "extents", travels(loop.cell, loop.cell.states))
    function = "over_waves" if isinstance(loop.how, Dag) else "over_places"
    return f"{function}({', '.join((step, *given, *options))})"
