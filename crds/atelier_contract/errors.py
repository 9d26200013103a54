"""The contract's own errors.

ContractError
└── KeyRefused    a store key that the layout does not allow: our bug or a hostile name
"""

from __future__ import annotations


class ContractError(Exception):
    """Something does not agree with the contract."""


class KeyRefused(ContractError):
    """A key outside the layout was asked for. Nothing is read, written or deleted under it."""
