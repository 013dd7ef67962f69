"""The call that runs a recurrence in chunks in an emitted module, whatever the framework."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lsrl.backends.expressions import Code, infix, method, subscript
from lsrl.backends.primitive_site import Site
from lsrl.ir.schedules.chunk_form_parts import ChunkForm, Read, ReadTerm
from lsrl.ir.schedules.how import Chunk, How
from lsrl.ir.value import Value

ROWS = 64
"""Of a chunk, unless the schedule says otherwise: the least work for states of 64 to 128 rows and a low rank."""


def write_chunk_call(form: ChunkForm, how: How, site: Site, permute: str) -> dict[str, str]:
    """Write the call that runs a recurrence in chunks; the code of its state's last value.

    Args:
        permute: the method of the framework's arrays that puts axes in another order.
    """
    return _Call(form, how, site, permute).write()


class _Call:
    """The call while it is written."""

    def __init__(self, form: ChunkForm, how: How, site: Site, permute: str) -> None:
        self.form, self.site, self.permute = form, site, permute
        self.size = (how.size or ROWS) if isinstance(how, Chunk) else None

    def write(self) -> dict[str, str]:
        name = self.form.state.name
        last = self.site.names.fresh(f"{name}_last")
        terms = [(read, term) for read in self.form.reads for term in read.terms]
        found = [self.site.names.fresh(f"{name}_read") for _ in terms]
        results = f"{_bracketed(found)}, {last}" if found else f"_, {last}"
        arguments = ", ".join(self.arguments([term for _, term in terms]))
        self.site.writer.line(f"{results} = chunked({arguments})")
        for read in self.form.reads:
            own = [(term, Code(each)) for (of, term), each in zip(terms, found, strict=True) if of is read]
            self.site.writer.line(f"{self.site.bind(read.result)} = {self.result(read, own)}")
        return {name: str(self.program_order(Code(last)))}

    def arguments(self, terms: Sequence[ReadTerm]) -> Iterable[str]:
        """What the call takes, in order."""
        step = self.form.step
        yield str(self.matrix(Code(self.site.starts[self.form.state.name])))
        yield self.decay(step.decay_rows)
        yield self.decay(step.decay_columns)
        yield _bracketed(self.operand(each) for each in step.readers)
        yield _bracketed(self.operand(each) for each in step.keys)
        yield _bracketed(self.column(each) for each in step.values)
        yield _bracketed(_bracketed(self.operand(each) for each in row) for row in step.mix)
        yield _bracketed(f'({self.operand(term.vector)}, "{term.side}", {term.after})' for term in terms)
        yield f"extent={self.site.extent}"
        yield f"size={self.size}"
        if self.form.reverse:
            yield "reverse=True"
        if self.site.narrow and self.form.columns is not None:  # products with a vector gain nothing from 16 bits
            yield f"operands={self.site.narrow}"

    def operand(self, value: Value | None) -> str:
        return "None" if value is None else str(self.site.code(value))

    def column(self, value: Value | None) -> str:
        """A value [*lanes, V]; that of a state without columns gets one."""
        if value is None or self.form.columns is not None:
            return self.operand(value)
        return str(self.with_last(value))

    def decay(self, value: Value | None) -> str:
        """Decays [*lanes, K]; those that are a number in each lane become one for all the rows."""
        if value is None or value.rank > len(self.form.lanes):
            return self.operand(value)
        return str(self.with_last(value))

    def with_last(self, value: Value) -> Code:
        """A value with an axis of one at the end; a number that is the same everywhere needs none."""
        code = self.site.code(value)
        return code if not value.rank and not self.site.varies(value) else _with_last(code)

    def matrix(self, code: Code) -> Code:
        """A state of the program, [B, *shape], as [B, *lanes, rows, columns]."""
        ordered = self.permuted(code, self.form.perm, 1)
        return ordered if self.form.columns is not None else _with_last(ordered)

    def program_order(self, code: Code) -> Code:
        """The inverse of `matrix`."""
        bare = code if self.form.columns is not None else method(code, "squeeze", -1)
        return self.permuted(bare, tuple(self.form.perm.index(axis) for axis in range(len(self.form.perm))), 1)

    def result(self, read: Read, terms: Sequence[tuple[ReadTerm, Code]]) -> Code:
        """The sum of the terms and the rest, as the program has it."""
        parts = [self.term(term, code) for term, code in terms]
        total = parts[0]
        for part in parts[1:]:
            total = infix("+", total, part)
        total = self.permuted(total, read.perm, 2)
        return total if read.rest is None else infix("+", total, self.site.code(read.rest))

    def permuted(self, code: Code, perm: Sequence[int], before: int) -> Code:
        """The axes after the first ones in another order."""
        if tuple(perm) == tuple(range(len(perm))):
            return code
        return method(code, self.permute, *range(before), *(axis + before for axis in perm))

    def term(self, term: ReadTerm, code: Code) -> Code:
        bare = code if self.form.columns is not None else method(code, "squeeze", -1)
        return bare if term.scale is None else infix("*", bare, self.site.code(term.scale))


def _with_last(code: Code) -> Code:
    return subscript(code, "..., None")


def _bracketed(parts: Iterable[str]) -> str:
    return f"[{', '.join(parts)}]"
