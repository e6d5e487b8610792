"""What is told of an equation that has no rule, or whose rule fails: the line, the plugin, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jax2onnx._compat import InconclusiveDimensionOperation
from jax2onnx.errors import (
    ConversionError,
    DimensionError,
    InvalidModelError,
    OpsetError,
    UnsupportedCaseError,
    UnsupportedPrimitiveError,
    described_error,
)
from jax2onnx.frontend.remedies import comparison_remedy, first_line
from jax2onnx.plugin.loader import blame
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.program.shapes import is_static

if TYPE_CHECKING:
    from jax2onnx.plugin.lowerings import Lowerings
    from jax2onnx.program.program import Eqn

__all__ = ["Faults", "no_complex"]


@dataclass(slots=True, kw_only=True, eq=False)
class Faults:
    """Makes the errors of one export.

    Attributes:
        asked: the opset that is asked for.
        lowerings: the rules.
        describe_plugin: returns a plugin's name with its version.
        problems: describes the plugins that are not in use.
        provider: returns the distribution to install for a primitive; empty if none is known.
    """

    asked: int
    lowerings: Lowerings
    describe_plugin: Callable[[str], str] = str
    problems: Callable[[], str] = str
    provider: Callable[[str], str] = lambda primitive: ""  # noqa: ARG005

    def failed(self, error: BaseException, eqn: Eqn, plugin: str, *, via_jax: bool = False) -> ConversionError:
        """Return the error for an exception that is not ours, and that a rule has raised."""
        explained = self._dimension_error(error, eqn, plugin, via_jax=via_jax)
        if explained is not None:
            return explained
        return self.blamed(f"failed: {described_error(error)}", eqn, plugin)

    def blamed(self, what: object, eqn: Eqn, plugin: str) -> ConversionError:
        """Return the error for a rule that does what no rule may do; its plugin is faulty from now on."""
        reason = f"the rule of {eqn.primitive} {what}"
        blame(plugin, reason)
        instead = "fusions=False avoids" if eqn.fused is not None else f"lowerings={{{eqn.primitive!r}: rule}} replaces"
        return ConversionError(
            reason,
            where=eqn.where,
            plugin=self.describe_plugin(plugin),
            remedy=f"report it: this is a bug in the rule; {instead} it",
        )

    def locate(self, error: ConversionError, eqn: Eqn, plugin: str) -> None:
        """Add to an error the user's line and the plugin, unless it has others."""
        if isinstance(error, InvalidModelError) or (eqn.fused is not None and isinstance(error, OpsetError)):
            blame(plugin, error.what)
        error.where = error.where or eqn.where
        error.plugin = error.plugin or self.describe_plugin(plugin)

    def _dimension_error(self, error: BaseException, eqn: Eqn, plugin: str, *, via_jax: bool) -> DimensionError | None:
        """Return the error that explains one of JAX about symbolic dims; None if it is about something else."""
        if isinstance(error, InconclusiveDimensionOperation):
            what = "the rule cannot decide a comparison of dimensions"
            remedy = comparison_remedy(error)
        elif via_jax and _has_symbolic_dims(eqn):
            what = "the rule cannot be traced with these symbolic dimensions"
            remedy = "give the dimensions it is about as ints"
        else:
            return None
        return DimensionError(
            f"{eqn.primitive}: {what}: {first_line(error)}",
            where=eqn.where,
            plugin=self.describe_plugin(plugin),
            remedy=remedy,
        )

    def without_rule(self, eqn: Eqn) -> ConversionError:
        """Return the error for an equation whose primitive has no rule at this opset, or none for complex numbers."""
        if eqn.paired is not None:
            return no_complex(eqn)
        needed = self.lowerings.needed_opset(eqn.primitive)
        if needed is not None:
            msg = f"the primitive {eqn.primitive!r} needs opset {needed} or newer; opset={self.asked} was asked for"
            return OpsetError(msg, where=eqn.where, remedy=f"pass opset={needed} or a newer one")
        undecided = _undecided(eqn.undefined)
        if undecided is not None:
            msg = f"{eqn.primitive}: its definition cannot decide a comparison of dimensions: {first_line(undecided)}"
            return DimensionError(msg, where=eqn.where, remedy=comparison_remedy(undecided))
        msg = f"no lowering is registered for the primitive {eqn.primitive!r}"
        if eqn.undefined is not None and str(eqn.undefined):
            msg += f", and {eqn.undefined}"
        problems = self.problems()
        if problems:
            msg += f" ({problems})"
        distribution = self.provider(eqn.primitive)
        install = "install a plugin that covers it (jax2onnx list-plugins shows what is loaded)"
        if distribution:
            install = f"run `pip install {distribution}`, which covers it"
        return UnsupportedPrimitiveError(
            msg,
            where=eqn.where,
            remedy=f"{install}, or pass lowerings={{{eqn.primitive!r}: rule}}",
            primitive=eqn.primitive,
            distribution=distribution,
        )

    def without_rule_inside(self, eqn: Eqn) -> list[ConversionError]:
        """Return an error for each equation without a rule in the bodies of one that has none itself."""
        errors = []
        opset = max(self.asked, MIN_OPSET)
        for body in eqn.bodies:
            for inner in body.program.eqns:
                known = inner.is_call or inner.fused is not None
                if not known and self.lowerings.find(inner.primitive, opset) is None:
                    errors.append(self.without_rule(inner))
                errors += self.without_rule_inside(inner)
        return errors


def no_complex(eqn: Eqn) -> ConversionError:
    """Return the error for an equation of complex numbers whose rule is for real ones alone."""
    remedy = "compute with the real and imaginary parts, or outside the model"
    return UnsupportedCaseError(f"{eqn.primitive}: complex numbers", where=eqn.where, remedy=remedy)


def _undecided(reason: Exception | None) -> BaseException | None:
    """Return the comparison of symbolic dims that stands behind a reason; None if it is another."""
    cause = None if reason is None else reason.__cause__
    for error in (reason, cause):
        if isinstance(error, InconclusiveDimensionOperation):
            return error
    return None


def _has_symbolic_dims(eqn: Eqn) -> bool:
    dims = [dim for atom in eqn.inputs for dim in atom.aval.shape]
    return not is_static(*dims)
