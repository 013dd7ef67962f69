"""Imports: from a file's syntax to its table of names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate.definitions import (
    CellTerm,
    ConstTerm,
    Definition,
    FunctionTerm,
    Missing,
    Module,
    ModuleTerm,
    place_of,
)
from lsrl.elaborate.report import Misplaced, Report
from lsrl.elaborate.scope import nearest
from lsrl.ir.fault import Fault
from lsrl.ir.span import LsrlError, Span
from lsrl.loader import STD, Loader


@dataclass
class Modules:
    """The modules read so far; `reading` are those whose imports are being followed."""

    loader: Loader
    report: Report
    known: dict[int, Module] = field(default_factory=dict)
    reading: list[int] = field(default_factory=list)

    def of(self, program: syntax.Program, library: bool = False) -> Module:
        """The module of a syntax tree; what is wrong with its imports is reported."""
        key = id(program)
        if key not in self.known:
            module = Module(program, library)
            self.reading.append(key)
            for item in program.items:
                for name, definition, span in self._defined(item, module):
                    self._define(module, name, definition, span)
            self.reading.pop()
            self.known[key] = module
        return self.known[key]

    def member(self, path: tuple[str, ...], name: str) -> Definition:
        """`name` of the module or folder at `path`; Fault when there is none."""
        module = self._read(path)
        if module is not None and name in module.table:
            return module.table[name]
        inner = self._read((*path, name))
        if inner is not None:
            return inner.table.get(name, ModuleTerm((*path, name)))
        if module is None and self.loader.is_folder((*path, name)):
            return ModuleTerm((*path, name))
        known = [*(module.table if module else ()), *self.loader.modules(path)]
        guess = nearest(name, known)
        remedy = f"did you mean `{guess}`?" if guess else None
        raise Fault(code.NOT_IN_MODULE, f"`{'.'.join(path)}` has no `{name}`", remedy=remedy)

    def _defined(self, item: syntax.Item, module: Module) -> Iterator[tuple[str, Definition, Span]]:
        match item:
            case syntax.Function():
                yield item.name.id, FunctionTerm(item, module), item.name.span
            case syntax.Cell():
                yield item.name.id, CellTerm(item, module), item.name.span
            case syntax.Const():
                yield item.name.id, ConstTerm(item, module), item.name.span
            case syntax.Import(path, alias):
                found = self._exists(path, item.span)
                named = path if alias else path[:1]
                yield alias or path[0], ModuleTerm(named) if found else Missing(), item.span
            case syntax.FromImport(path, names):
                found = self._exists(path, item.path_span)
                for imported in names:
                    definition = self._imported(path, imported) if found else Missing()
                    yield imported.alias or imported.name, definition, imported.span

    def _imported(self, path: tuple[str, ...], imported: syntax.ImportedName) -> Definition:
        try:
            return self.member(path, imported.name)
        except Fault as fault:
            self.report.fault(fault, imported.span)
        except LsrlError as error:
            self._adopt(error)
        return Missing()

    def _define(self, module: Module, name: str, definition: Definition, span: Span) -> None:
        before = module.table.get(name)
        same_folder = isinstance(before, ModuleTerm) and isinstance(definition, ModuleTerm)
        if before is None or isinstance(before, Missing) or same_folder:
            module.table[name] = definition
            return
        place = place_of(before)
        remedy = f"it is defined on line {place.line}" if place and place.source == span.source else "it is imported"
        self.report.fault(Fault(code.DECLARED_TWICE, f"`{name}` is defined twice", remedy=remedy), span)

    def _exists(self, path: tuple[str, ...], span: Span) -> bool:
        """Whether a module or folder can be imported; reports when not."""
        try:
            if self._read(path) is not None or self.loader.is_folder(path):
                return True
            guess = nearest(path[-1], self.loader.modules(path[:-1]))
            remedy = f"did you mean `{guess}`?" if guess else "a program can import from its own folder and from `std`"
            self.report.fault(Fault(code.NO_MODULE, f"there is no module `{'.'.join(path)}`", remedy=remedy), span)
        except Misplaced as fault:
            self.report.fault(fault, span)
        except LsrlError as error:
            self._adopt(error)
        return False

    def _read(self, path: tuple[str, ...]) -> Module | None:
        program = self.loader.find(path)
        if program is None:
            return None
        if id(program) in self.reading:
            message = f"`{'.'.join(path)}` imports itself"
            if self.reading[-1] != id(program):
                message += ", through the modules that it imports"
            raise Misplaced(code.IMPORT_CYCLE, message, remedy="move what both need to a third file")
        return self.of(program, path[0] == STD)

    def _adopt(self, error: LsrlError) -> None:
        """What is wrong with an imported file is said of that file."""
        for diagnostic in error.diagnostics:
            self.report.add(diagnostic)
