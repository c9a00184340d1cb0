"""Sizes that carry names through a forward: torch's symbolic shapes, read as formulas.

This is the second way to a formula, and it shares nothing with the first (`tracer.derive`): there numbers of a
few runs are read back, here torch itself does the algebra, one operation after the other. It takes seconds
where the first takes tenths of one, so the tests use it to check the first.

    model = build()                                      # on the meta device: shapes and no memory
    with symbolic_sizes({"B": 2, "f": 13, "y": 30}) as sizes:
        sizes.adopt(model)
        x = sizes.empty("B f 2*y", "bfloat16")
        with record(model) as recording:
            model(x)
    recording.trace                                      # formulas in B, f and y
    sizes.guards                                         # what torch had to assume to get through

Give the named sizes on the patch grid (rows of patches y, and 2*y as the height of the latents): then divisions
come out whole and leave neither a rounding nor a guard. Values should differ from each other, from one, and from
every number of the model that they could be compared with: a comparison that comes out equal fixes the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any, Self, TypeVar

import sympy
import torch
from torch import nn
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

from tracer.formula import Formula
from tracer.notation import parse
from tracer.shapes import Dim

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Guard:
    """Something torch assumed of the sizes: `Eq(Mod(L, 2), 0)`, as sympy writes it.

    letters: the named sizes in it. fixed: letter and number where it holds for that number only. differs: it only
    rules out that two sizes are equal.
    """

    text: str
    letters: frozenset[str]
    fixed: tuple[str, int] | None = None
    differs: bool = False

    def __str__(self) -> str:
        return self.text


class SymbolicSizes:
    """The context manager behind `symbolic_sizes`."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self.values = dict(values)
        self.env = ShapeEnv(duck_shape=False)  # else equal values would become one letter
        self.mode = FakeTensorMode(shape_env=self.env)
        self.mode.cache_enabled = False  # a cache of symbolic results costs more than it saves
        self._stack = ExitStack()
        self._letters: dict[str, Any] = {}
        for name, value in self.values.items():
            source = ConstantSource(name)
            symbol = self.env.create_symbol(value, source, dynamic_dim=DimDynamic.DYNAMIC)
            self._letters[name] = self.env.create_symintnode(symbol, hint=value, source=source)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.mode)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def size(self, axis: str | int | Formula) -> Any:
        """One size from a formula of the letters: a plain number, or torch's symbolic integer.

        Raises KeyError for a letter without a value, ValueError where a coefficient is not whole or a letter
        divides.
        """
        if isinstance(axis, int):
            return axis
        formula = parse(axis) if isinstance(axis, str) else axis
        total: Any = 0
        for monomial, coefficient in formula.terms:
            if coefficient.denominator != 1 or any(e < 0 for _, e in monomial):
                raise ValueError(f"'{formula}' divides; give the named sizes on the patch grid, so that nothing has to")
            term: Any = int(coefficient)
            for letter, power in monomial:
                for _ in range(power):
                    term = term * self._letters[letter]
            total = total + term
        return total

    def empty(self, axes: str | Sequence[str | int | Formula], dtype: str | torch.dtype = "float32") -> torch.Tensor:
        """A fake tensor with these axes: `"B L 4096"`, or a sequence of formulas and numbers."""
        parts = axes.split() if isinstance(axes, str) else axes
        kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        return torch.empty([self.size(axis) for axis in parts], dtype=kind)

    def adopt(self, model: ModuleT) -> ModuleT:
        """Give a model fake parameters and buffers in place of its own, for good; it cannot run otherwise then."""
        made: dict[int, Any] = {}

        def fake(old: torch.Tensor) -> Any:
            if id(old) not in made:  # shared weights stay shared
                new: torch.Tensor = torch.empty(old.shape, dtype=old.dtype)
                made[id(old)] = nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new
            return made[id(old)]

        with self.mode:
            for module in model.modules():
                for held in (module._parameters, module._buffers):
                    for name, old in held.items():
                        if old is not None:
                            held[name] = fake(old)
        return model

    @property
    def guards(self) -> list[Guard]:
        """What torch assumed, in the order it was met, each once."""
        names = _names(self.env)
        found: dict[str, Guard] = {}
        for entry in self.env.guards:
            expression = entry.expr
            text = str(expression.xreplace({s: sympy.Symbol(n) for s, n in names.items()}))
            letters = frozenset(names[s] for s in expression.free_symbols if s in names)
            fixed = None
            if isinstance(expression, sympy.Eq):
                fixed = _fixed(sympy.expand(expression.lhs - expression.rhs), names)
            differs = isinstance(expression, sympy.Ne)
            found.setdefault(text, Guard(text, letters, fixed, differs))
        return list(found.values())


def symbolic_sizes(values: Mapping[str, int]) -> SymbolicSizes:
    """Run modules on fake tensors whose sizes carry these names; the values are only hints.

    Values below 2 are refused with ValueError: torch takes 0 and 1 for constants.
    """
    small = [f"{name} = {value}" for name, value in values.items() if value < 2]
    if small:
        raise ValueError(f"{small[0]} would not stay a name: torch takes 0 and 1 for constants")
    return SymbolicSizes(values)


def dim_of(size: int | torch.SymInt) -> Dim:
    """A size with its formula; without one where torch's expression is no polynomial (a rounding, a maximum)."""
    if not isinstance(size, torch.SymInt):
        return Dim(int(size))
    node = size.node
    expression = node.expr
    hint = int(node.hint)
    if not expression.free_symbols:
        return Dim(hint)
    return Dim(hint, _formula(expression, _names(node.shape_env)))


def _fixed(difference: Any, names: Mapping[Any, str]) -> tuple[str, int] | None:
    """The letter and its only value, where a·letter + b is to be zero."""
    if len(difference.free_symbols) != 1:
        return None
    (symbol,) = difference.free_symbols
    solution = -difference.coeff(symbol, 0) / difference.coeff(symbol, 1) if difference.coeff(symbol, 1) else None
    if symbol not in names or not isinstance(solution, sympy.Integer) or difference.coeff(symbol, 2) != 0:
        return None
    return names[symbol], int(solution)


def _names(env: ShapeEnv) -> dict[Any, str]:
    out: dict[Any, str] = {}
    for symbol, sources in env.var_to_sources.items():
        source = sources[0]
        assert isinstance(source, ConstantSource)  # we made every one of them
        out[symbol] = source.source_name
    return out


def _formula(expression: Any, names: Mapping[Any, str]) -> Formula | None:
    """A sympy expression as formula, None where it is no sum of products."""
    kind = type(expression).__name__
    if expression in names:
        return Formula.symbol(names[expression])
    if isinstance(expression, sympy.Rational):
        return Formula.constant(Fraction(int(expression.p), int(expression.q)))
    if not isinstance(expression, sympy.Add | sympy.Mul | sympy.Pow) and kind not in ("FloorDiv", "CleanDiv"):
        return None
    if isinstance(expression, sympy.Pow):
        base, power = expression.args
        inner = _formula(base, names)
        if inner is None or not isinstance(power, sympy.Integer) or int(power) < 0:
            return None
        total = Formula.constant(1)
        for _ in range(int(power)):
            total = total * inner
        return total
    parts = [_formula(a, names) for a in expression.args]
    if any(p is None for p in parts):
        return None
    known = [p for p in parts if p is not None]
    if kind in ("FloorDiv", "CleanDiv"):
        return _exact(known[0], known[1])
    total = known[0]
    for part in known[1:]:
        total = total + part if isinstance(expression, sympy.Add) else total * part
    return total


def _exact(above: Formula, below: Formula) -> Formula | None:
    """A quotient that is whole wherever its letters are, else None: nothing may be rounded away."""
    if len(below.terms) != 1:
        return None
    quotient = above / below
    whole = all(c.denominator == 1 and all(e > 0 for _, e in m) for m, c in quotient.terms)
    return quotient if whole else None
