"""From a program's syntax tree to the graph of its main cell, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import names
from lsrl.elaborate.body import Body
from lsrl.elaborate.calls import result_of
from lsrl.elaborate.cells import make
from lsrl.elaborate.definitions import CellTerm, ConstTerm, FunctionTerm, Module
from lsrl.elaborate.env import Env
from lsrl.elaborate.expressions import evaluate
from lsrl.elaborate.functions import FUNCTIONS
from lsrl.elaborate.modules import Modules
from lsrl.elaborate.report import Poisoned, Report, Stop
from lsrl.elaborate.scope import Binding, Role, Scope, nearest
from lsrl.elaborate.session import Session
from lsrl.elaborate.terms import POISON
from lsrl.ir.cell import Cell
from lsrl.ir.fault import Fault
from lsrl.ir.span import Diagnostic, LsrlError
from lsrl.loader import Loader


def elaborate(
    program: syntax.Program,
    *,
    cell: str | None = None,
    sizes: Mapping[str, int] | None = None,
    loader: Loader | None = None,
) -> Cell:
    """The graph of a program's main cell: the one named `cell`, or the last one.

    Args:
        sizes: numbers of the cell's sizes, as far as they are known; shapes stay symbolic, but `repeat` and lags are
            built for these numbers (or defaults, or one turn) and require them.
        loader: finds imported modules; without one only the library can be imported.

    Raises:
        LsrlError: the program is at fault; with every diagnostic.
    """
    session = _session(loader)
    built = None
    with _reporting(session):
        module = session.modules.of(program)
        term = _main(module, cell)
        built = session.cell(term, _numbers(term.node, sizes or {}), term.node.name.span)
    if built is None or session.report.errors:
        raise LsrlError(d for d in session.report.sorted() if d.severity == "error")
    return built


def check(program: syntax.Program, loader: Loader | None = None) -> tuple[Diagnostic, ...]:
    """Everything there is to say about a program, warnings included: every cell, constant and function is checked."""
    return examine(program, loader=loader)[0]


def examine(
    program: syntax.Program, *, cell: str | None = None, loader: Loader | None = None
) -> tuple[tuple[Diagnostic, ...], Cell | None]:
    """What `check` says, and what `elaborate` would make without numbers of sizes, which is made on the way.

    Args:
        cell: the main cell; the last one when None.
    """
    session, main = _session(loader), None
    with _reporting(session):
        module = session.modules.of(program)
        for definition in tuple(module.table.values()):
            match definition:
                case CellTerm(node) if definition.module is module:
                    built = session.cell(definition, {}, node.name.span)
                    main = built if cell in (None, node.name.id) else main
                case ConstTerm() if definition.module is module:
                    _check_constant(session, definition)
                case FunctionTerm() if definition.module is module:
                    _check_function(session, definition)
    return session.report.sorted(), main if not session.report.errors else None


@contextmanager
def _reporting(session: Session) -> Iterator[None]:
    """What ends a run early ends it with a report."""
    try:
        yield
    except Stop:
        return
    except Fault as fault:
        session.report.fault(fault, None)
    except RecursionError:
        message = "functions, cells and expressions are nested too deep, all taken together"
        session.report.fault(Fault(code.TOO_DEEP, message), None)


def _session(loader: Loader | None) -> Session:
    report = Report()
    return Session(report, Modules(loader or Loader(), report), make)


def _main(module: Module, name: str | None) -> CellTerm:
    cells = [term for term in module.table.values() if isinstance(term, CellTerm) and term.module is module]
    if name is None and cells:
        return cells[-1]
    for term in cells:
        if term.node.name.id == name:
            return term
    if name is None:
        raise Fault(code.NO_OUTPUT, "the program has no cell", remedy="write `cell name(sizes):`")
    guess = nearest(name, [term.node.name.id for term in cells])
    remedy = f"did you mean `{guess}`?" if guess else None
    raise Fault(code.UNKNOWN_NAME, f"the program has no cell `{name}`", remedy=remedy)


def _numbers(node: syntax.Cell, given: Mapping[str, int]) -> dict[str, int]:
    return {parameter.name: given[parameter.name] for parameter in node.sizes if parameter.name in given}


def _static(session: Session, module: Module) -> Env:
    return Env(Body(session), Scope(), module, evaluate, FUNCTIONS)


def _check_constant(session: Session, term: ConstTerm) -> None:
    try:
        names.defined(_static(session, term.module), term)
    except Poisoned:
        return


def _check_function(session: Session, term: FunctionTerm) -> None:
    """Find unknown names in a function; shapes are checked where it is used."""
    env = replace(_static(session, term.module), checking=True)
    for parameter in term.node.parameters:
        if parameter.name in env.scope.names:
            message = f"the argument `{parameter.name}` is declared twice"
            session.report.fault(Fault(code.DECLARED_TWICE, message), parameter.span)
        if parameter.default is not None:
            env.term(parameter.default)
        env.scope.names[parameter.name] = Binding(Role.ARGUMENT, POISON, parameter.span)
    result_of(env, term.node)
    mentioned = _names_in(term.node)
    for name, binding in env.scope.names.items():
        if not binding.used and name not in mentioned:
            session.report.warn(code.UNUSED, f"the {binding.role} `{name}` is never used", binding.span)


def _names_in(node: syntax.Function) -> set[str]:
    """The names that occur in a function's expressions; a shape's are not evaluated before it is used."""
    found: set[str] = set()
    stack: list[object] = [*(line.value for line in node.body), node.result]
    while stack:
        match stack.pop():
            case syntax.Name(id):
                found.add(id)
            case tuple() as items:
                stack += items
            case inner if is_dataclass(inner):
                stack += [getattr(inner, each.name) for each in fields(inner)]
    return found
