"""What every refusal and every piece of advice has in common: one sentence that says what, where and what to do."""

from __future__ import annotations

LONGEST = 400
"""Letters: about three lines of a terminal."""


def assert_one_sentence(message: str, *words: str) -> None:
    """Assert that a message is one readable sentence with these words in it.

    Args:
        message: what the user reads.
        words: each names what was wrong, where, or what to do.
    """
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    assert 0 < len(message) <= LONGEST, len(message)
    assert "\n" not in message
    assert "Traceback" not in message
    assert ". " not in message.rstrip("."), f"more than one sentence: {message}"
    assert ": " in message or "; " in message or ", " in message, f"nothing to do is said: {message}"
