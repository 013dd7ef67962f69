"""The backward pass of a loop as a JAX function: the plan of its adjoint, then sums over positions as products."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.backends.expressions import Code, method, tupled
from lsrl.backends.jax_einsum import summed_einsum
from lsrl.backends.jax_module import ALONE, SEQUENCE, Module
from lsrl.backends.jax_place import Place, Types
from lsrl.backends.jax_stages import Stages
from lsrl.backends.jax_stencil import summed_conv_dw
from lsrl.backends.jax_steps import write_steps
from lsrl.backends.loop_derivative import Derivative
from lsrl.ir.pipeline import VARYING
from lsrl.ir.position_sums import factors
from lsrl.ir.value import Value, depends_on, postorder

_SUMMED = {"einsum": summed_einsum, "conv_dw": summed_conv_dw}


def cotangents(derivative: Derivative, types: Types) -> frozenset[Value]:
    """What depends on cotangents in a module of float16, where small ones would be rounded to zero."""
    if types.data != "jnp.float16":
        return frozenset()
    seeds = {*derivative.adjoint.seeds.values(), *derivative.adjoint.states.values()}
    return depends_on(derivative.plan.roots, lambda v: v.op in VARYING and v.attr("name") in seeds)


class AdjointBody:
    """The body of the function that is a loop's adjoint, while it is written.

    Attributes:
        names: the identifier of every array that it takes apart from cotangents of last states, by name.
        lasts: the identifiers of the cotangents of last states, by the names of the adjoint's states.
    """

    def __init__(self, derivative: Derivative, module: Module) -> None:
        self.derivative, self.module = derivative, module
        names = module.names
        self.lasts: Mapping[str, str] = {s.name: names.fresh(f"{s.name}_last") for s in module.cell.states}
        self.stages = Stages(module, self.lasts, write_steps)
        leaves = derivative.leaves
        self.names: Mapping[str, str] = {name: self.stages.statements.bind(leaf) for name, leaf in leaves.items()}

    def write(self) -> None:
        """All but where arguments are taken apart."""
        self.stages.write()
        self.module.writer.blank()
        adjoint, loop = self.derivative.adjoint, self.derivative.loop.cell
        gradients = self.gradients()
        values = {output.name: output.value for output in adjoint.cell.outputs}
        reads = [adjoint.inputs.get(declared.name) for declared in loop.inputs]
        d_reads = [self.everywhere(values[name]) if name else "None" for name in reads]
        d_statics = [gradients.get(param.name, "None") for param in loop.params]
        states = [adjoint.states.get(state.name) for state in loop.states]
        d_starts = [self.stages.final[name] if name else "None" for name in states]
        self.module.writer.line(f"return {tupled(d_reads)}, {tupled(d_statics)}, {tupled(d_starts)}")

    def everywhere(self, value: Value) -> str:
        return str(self.module.array(value, self.stages.statements.codes, SEQUENCE))

    def gradients(self) -> dict[str, str]:
        """Write the sums over positions, and the gradients of params made of them; their codes."""
        sums, module = self.derivative.sums, self.module
        self.stages.write_statics([v for v in (*sums.operands, *sums.parts.values()) if v not in module.varying])
        once = module.statements(ALONE)
        once.codes = self.stages.statements.codes
        totals = {leaf: self.total(value) for leaf, value in sums.parts.items()}
        found = self.derivative.gradients
        result: dict[str, str] = {}
        for leaf, code in totals.items():
            once.bind(leaf, code)
        for name, value in found.items():
            order = [v for v in postorder([value], stop=once.codes.__contains__) if v not in once.codes]
            once.write(order, {value} & {*order})
            known = once.codes.get(value)
            result[name] = str(known or module.array(value, once.codes, ALONE))
        return result

    def total(self, value: Value) -> Code:
        """The sum of a value over sequences and positions."""
        module, codes = self.module, self.stages.statements.codes
        place: Place = module.place(SEQUENCE)
        if value.op in _SUMMED and factors(value) == value.args:
            operands = [module.operand(arg, codes, place) for arg in value.args]
            if any(operand.varies for operand in operands):
                return _SUMMED[value.op](value, operands, place)
        return method(module.array(value, codes, SEQUENCE), "sum", (0, 1))
