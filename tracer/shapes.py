"""Sizes that know where they come from: one number with its formula and its name, and tensors of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from tracer.formula import Formula

DTYPE_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of one element, by torch's name of the dtype."""

DTYPE_SHORT = {
    "float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16", "int64": "i64", "int32": "i32",
    "bool": "bool", "complex64": "c64", "complex128": "c128", "uint8": "u8", "int8": "i8", "int16": "i16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dim:
    """One axis of a tensor, or any other whole number that a run produced.

    `formula` is None for a number that nothing in the request or the config moves, and for numbers whose
    formula was not asked for. Arithmetic carries number and formula along together.
    """

    size: int
    formula: Formula | None = None
    name: str | None = None

    def expression(self) -> Formula:
        """The formula, or the number as one."""
        return self.formula if self.formula is not None else Formula.constant(self.size)

    def __mul__(self, other: Dim | int) -> Dim:
        if isinstance(other, int):
            other = Dim(other)
        both = self.formula is not None or other.formula is not None
        return Dim(self.size * other.size, self.expression() * other.expression() if both else None)

    def __add__(self, other: Dim | int) -> Dim:
        if isinstance(other, int):
            other = Dim(other)
        both = self.formula is not None or other.formula is not None
        return Dim(self.size + other.size, self.expression() + other.expression() if both else None)

    def scaled(self, factor: Fraction) -> Dim:
        """The number times a fraction; raises ValueError where it does not come out whole."""
        size = self.size * factor
        if size.denominator != 1:
            raise ValueError(f"{self.size} times {factor} is not a whole number")
        return Dim(int(size), self.formula * factor if self.formula is not None else None)

    def to_json(self) -> Any:
        """A bare number, or `{"size", "formula", "name"}` where there is more to say."""
        if self.formula is None and self.name is None:
            return self.size
        data: dict[str, Any] = {"size": self.size}
        if self.formula is not None:
            data["formula"] = self.formula.to_json()
        if self.name is not None:
            data["name"] = self.name
        return data

    @staticmethod
    def from_json(data: Any) -> Dim:
        """The inverse of `to_json`."""
        if isinstance(data, int):
            return Dim(data)
        formula = Formula.from_json(data["formula"]) if "formula" in data else None
        return Dim(data["size"], formula, data.get("name"))


ZERO = Dim(0)

Shape = tuple[Dim, ...]


def product(dims: Iterable[Dim]) -> Dim:
    """The product of sizes, formulas included."""
    total = Dim(1)
    for dim in dims:
        total = total * dim
    return total


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor without its values: shape and dtype."""

    shape: Shape
    dtype: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as plain numbers."""
        return tuple(d.size for d in self.shape)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.sizes)

    @property
    def nbytes(self) -> Dim:
        """Bytes of all elements, with its formula."""
        return product(self.shape) * DTYPE_BYTES.get(self.dtype, 1)

    def __str__(self) -> str:
        return f"{DTYPE_SHORT.get(self.dtype, self.dtype)}[{', '.join(map(str, self.sizes))}]"

    def to_json(self) -> dict[str, Any]:
        """`{"dtype", "shape"}`."""
        return {"dtype": self.dtype, "shape": [d.to_json() for d in self.shape]}

    @staticmethod
    def from_json(data: dict[str, Any]) -> TensorSpec:
        """The inverse of `to_json`."""
        return TensorSpec(tuple(Dim.from_json(d) for d in data["shape"]), data["dtype"])
