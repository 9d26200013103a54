"""Kubernetes quantities as numbers. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

# apimachinery, pkg/api/resource/suffix.go.
_FACTORS = {
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal("1e3"), "M": Decimal("1e6"),
    "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"), "E": Decimal("1e18"),
}  # fmt: skip


def read_quantity(text: str) -> Decimal:
    """Read a quantity such as `500m`, `2Gi` or `1e3`.

    Raises:
        ValueError: the text is no quantity.
    """
    for suffix in (text[-2:], text[-1:]):
        if suffix in _FACTORS and not text.endswith(f"e{suffix}"):
            return _read_number(text.removesuffix(suffix)) * _FACTORS[suffix]
    return _read_number(text)


def _read_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no quantity: write a number with a suffix such as m, k, M, Ki or Gi") from error
