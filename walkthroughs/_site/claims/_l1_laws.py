"""The claims of the article on HunyuanVideo's L1 about distributions: its table, and whether each gives a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from claims._l1_runs import near
from claims.claim import Claim, Part

if TYPE_CHECKING:
    import torch

_TABLE = "Thoughts on the shift function, table of distributions"


def _points() -> torch.Tensor:
    import torch

    return torch.linspace(-4, 4, 161, dtype=torch.float64)


def _number(value: float) -> torch.Tensor:
    import torch

    return torch.tensor(value, dtype=torch.float64)


def _logistic() -> bool:
    """Against torch's transformed uniform law, and tanh against sigmoid."""
    import torch

    uniform = torch.distributions.Uniform(_number(0.0), _number(1.0))
    law = torch.distributions.TransformedDistribution(uniform, [torch.distributions.SigmoidTransform().inv])
    x = _points()
    return near(0.5 * (1 + torch.tanh(x / 2)), law.cdf(x), 1e-12) and near(torch.sigmoid(x), law.cdf(x), 1e-12)


def _gauss() -> bool:
    import torch

    x = _points()
    return near(0.5 * (1 + torch.erf(x / 2**0.5)), torch.distributions.Normal(_number(0.0), _number(1.0)).cdf(x), 1e-12)


def _cauchy() -> bool:
    import torch

    x = _points()
    law = torch.distributions.Cauchy(_number(0.0), _number(1.0))
    return near(0.5 * (1 + 2 / np.pi * torch.arctan(x)), law.cdf(x), 1e-12)


def _gathered(density: Callable[[Any], Any], x: float) -> float:
    """A symmetric law's cumulative function at x: a half, and the density between 0 and x added up."""
    import torch

    parts = 20_000
    middle = (torch.arange(parts, dtype=torch.float64) + 0.5) * x / parts
    return 0.5 + float(density(middle).sum()) * x / parts


def _student(x: float) -> float:
    import torch

    law = torch.distributions.StudentT(_number(2.0))
    return _gathered(lambda u: law.log_prob(u).exp(), x)


def _student_up_to_scale() -> bool:
    """The table's function at x against the law at sqrt(2) x."""
    return all(abs(0.5 * (1 + x / (1 + x * x) ** 0.5) - _student(2**0.5 * x)) < 1e-6 for x in (0.3, 1.0, 2.5))


def _secant() -> bool:
    """The table's function, with gd(u) = arctan(sinh u), against the density 1/2 sech(π x/2)."""
    import torch

    found = [_gathered(lambda u: 0.5 / torch.cosh(np.pi / 2 * u), x) for x in (0.3, 1.0, 2.5)]
    table = [0.5 * (1 + 2 / np.pi * np.arctan(np.sinh(np.pi / 2 * x))) for x in (0.3, 1.0, 2.5)]
    return near(found, table, 1e-6)


def _dirac() -> bool:
    """The sign's function against a normal law of a millionth's width."""
    import torch

    x = torch.tensor([-1.0, -0.1, 0.0, 0.1, 1.0], dtype=torch.float64)
    return near(0.5 * (1 + torch.sign(x)), torch.distributions.Normal(_number(0.0), _number(1e-6)).cdf(x), 1e-12)


def _softsign() -> bool:
    import torch

    x = _points().requires_grad_()
    grown = 0.5 * (1 + torch.nn.functional.softsign(x))
    (density,) = torch.autograd.grad(grown.sum(), x)
    x = x.detach()
    return near(density, 1 / (2 * (1 + x.abs()) ** 2), 1e-12)


def _uniform() -> bool:
    import torch

    x = _points()
    law = torch.distributions.Uniform(_number(-1.0), _number(1.0), validate_args=False)
    return near(0.5 * (1 + torch.nn.functional.hardtanh(x)), law.cdf(x), 1e-12)


def _hard_sigmoid(x: float) -> float:
    import torch

    return float(torch.nn.functional.hardsigmoid(_number(x)))


def _schedules(*laws: str) -> Callable[[], bool]:
    """Whether F(F⁻¹(t) + 1) runs from 0 to 1 and always rises, for each law."""

    def measure() -> bool:
        from tracer.probes import schedule

        values = [schedule(f"{law}:1").value(np.linspace(0, 1, 1001)) for law in laws]
        return all(near(v[[0, -1]], [0, 1], 1e-9) and bool((np.diff(v) > 0).all()) for v in values)

    return measure


def _row(name: str, says: str, why: str, measure: Callable[[], bool], what: str) -> Claim:
    return Claim(f"l1/{name}", _TABLE, says, why, (Part(what, True, True, measure),))


LAWS = (
    Claim(
        "l1/any-law", "Thoughts on the shift function",
        "Asks whether the cumulative function of any distribution, scaled and moved, makes a shift function.",
        "In the form F(F⁻¹(t) + δ) any law will do that has a density on the whole line, and the logistic law with "
        "δ = ln s is the flow shift itself. Laws without such a density, the uniform one and Dirac's, do not.",
        (
            Part("logistic, normal, Student's, secant, Cauchy's and softsign make one", True, True,
                 _schedules("logistic", "normal", "t2", "sech", "cauchy", "softsign")),
            Part("the uniform law makes one", True, False, _schedules("uniform")),
            Part("Dirac's makes one", True, False, _schedules("sign")),
        ),
        "tracer/probes/distributions.py",
    ),
    _row("law-dirac", "The sign belongs to Dirac's distribution.",
         "The limit of ever narrower laws, with a half at 0.", _dirac,
         "(1 + sgn x)/2 is the limit of narrow normal laws"),
    _row("law-logistic", "tanh(x/2) and the sigmoid belong to the logistic distribution.",
         "Its cumulative function is the sigmoid.", _logistic,
         "(1 + tanh(x/2))/2 and the sigmoid are its cumulative function"),
    _row("law-gauss", "The error function of x/√2 belongs to the Gaussian distribution.",
         "Of the standard normal law.", _gauss, "(1 + erf(x/√2))/2 is its cumulative function"),
    Claim(
        "l1/law-student", _TABLE,
        "x/√(1 + x²) belongs to Student's t distribution with two degrees of freedom.",
        "Up to scale: the standard law has x/√(2 + x²).",
        (
            Part("the law's cumulative function at 1", 0.85355, 0.78868, lambda: _student(1.0), 1e-5),
            Part("it has that form up to a factor √2 in x", True, True, _student_up_to_scale),
        ),
    ),
    _row("law-secant", "2/π times the Gudermannian of π x/2 belongs to the hyperbolic secant distribution.",
         "Its density is sech(π x/2)/2.", _secant, "the table's function is what the density adds up to"),
    _row("law-cauchy", "2/π arctan(x) belongs to Lorentz's distribution.",
         "Of the standard Cauchy law.", _cauchy, "(1 + 2/π arctan x)/2 is its cumulative function"),
    Claim(
        "l1/law-uniform", _TABLE,
        "Hardtanh, and the hard sigmoid as half of one plus it, belong to the uniform distribution.",
        "Hardtanh does, on -1 to 1. The hard sigmoid of today's libraries is another piecewise line, of slope 1/6. "
        "Papers on binary networks have called clip((x+1)/2) by that name, and with that one the row is right.",
        (
            Part("(1 + hardtanh x)/2 is the cumulative function on -1 to 1", True, True, _uniform),
            Part("torch's hardsigmoid at 1/2", 0.75, 7 / 12, lambda: _hard_sigmoid(0.5), 1e-9),
        ),
        "torch.nn.functional.hardsigmoid; Courbariaux et al., BinaryConnect (arXiv 1511.00363)",
    ),
    _row("law-softsign", "Softsign belongs to the density 1/(2 (1 + |x|)²).",
         "The derivative, taken by autograd.", _softsign, "the derivative of (1 + softsign x)/2 is that density"),
)  # fmt: skip
