"""The numbers that every entity store keeps exactly, and the sum that a patch makes of them."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Subnormal, Underflow
from typing import TypeAlias

from storycore.errors import InvalidArgument

__all__ = ["Number", "added", "exact"]

Number: TypeAlias = int | float | Decimal

_DIGITS = 38
_LARGEST_EXPONENT = 125
_SMALLEST_EXPONENT = -130
_EXACT = Context(
    prec=_DIGITS,
    Emax=_LARGEST_EXPONENT,
    Emin=_SMALLEST_EXPONENT,
    traps=[Inexact, InvalidOperation, Overflow, Subnormal, Underflow],
)


def exact(value: Number, *, what: str) -> Decimal:
    """The number as a decimal; a float counts as its shortest text.

    Args:
        value: not a bool.
        what: names the number in the error, for example ``"field 'views'"``.

    Raises:
        InvalidArgument: not finite, more than 38 significant digits, or outside 1E-130 to 9.99…E+125
            (DynamoDB: number limits).
    """
    decimal = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not decimal.is_finite():
        raise InvalidArgument(f"The number of {what} is {value}; store a finite number, or leave it out.")
    if decimal and not _SMALLEST_EXPONENT <= decimal.adjusted() <= _LARGEST_EXPONENT:
        raise InvalidArgument(f"The number of {what} is outside 1E-130 to 9.99E+125; store it as text.")
    if len("".join(map(str, decimal.as_tuple().digits)).rstrip("0")) > _DIGITS:
        raise InvalidArgument(f"The number of {what} has more than 38 significant digits; round it or store text.")
    return decimal


def added(current: object, amount: int | Decimal, *, what: str) -> Number:
    """The sum that a patch stores: exact, in decimal arithmetic.

    The field keeps its type; an ``int`` to which a ``Decimal`` is added becomes a ``Decimal``.

    Args:
        current: the stored value; ``None`` where there is none, which counts as 0.
        amount: what is added.
        what: names the field in the error.

    Raises:
        InvalidArgument: the stored value is no number, or the sum does not fit in 38 significant digits.
    """
    base = 0 if current is None else current
    if isinstance(base, bool) or not isinstance(base, int | float | Decimal):
        raise InvalidArgument(f"Nothing can be added to {what}, which holds {type(base).__name__}, not a number.")
    if isinstance(base, int) and isinstance(amount, int):
        total = base + amount
        exact(total, what=what)
        return total
    try:
        total_decimal = _EXACT.add(exact(base, what=what), exact(amount, what=what))
    except (Inexact, Overflow, Subnormal, Underflow) as exc:
        raise InvalidArgument(f"The sum of {what} does not fit in 38 significant digits.") from exc
    return float(total_decimal) if isinstance(base, float) else total_decimal
