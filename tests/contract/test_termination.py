"""A pod's last words always fit what the kubelet keeps, and rows of checkpoints are the last thing to go."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from atelier_contract.names import TERMINATION_LIMIT_BYTES
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import SHORT_DIGEST, TerminationReport, compact_row, expand_row
from contract_examples import a_finding, a_report, a_row, an_inspection

MAX_ROWS = 40
WIDE = st.text(alphabet=string.ascii_letters + 'äß急𝕏\\"\n\x01', max_size=256)


def forty_rows() -> list:
    rows = (a_row(step, bytes=2**40, held_out_loss=0.123456789, samples=8) for step in range(960_001, 1_000_000, 1000))
    return [compact_row(row) for row in rows]


@given(message=st.text(max_size=1024))
@settings(max_examples=50)
def test_forty_rows_fit_beside_any_message(message: str) -> None:
    """Forty checkpoints of a million steps fit, whole, however long and strange the message is."""
    text = a_report(rows=forty_rows(), message=message).to_message()
    assert len(text.encode()) <= TERMINATION_LIMIT_BYTES
    assert len(TerminationReport.from_bytes(text.encode()).rows) == MAX_ROWS


@given(st.lists(st.tuples(WIDE, WIDE), max_size=20), st.text(max_size=1024))
@settings(max_examples=50, deadline=None)
def test_twenty_findings_fit(texts: list[tuple[str, str]], message: str) -> None:
    """Twenty findings with the longest examples and fixes fit; what does not is shortened, never torn."""
    findings = [a_finding(example=example, fix=fix) for example, fix in texts]
    report = a_report(
        role=Role.INSPECT, rows=[], train=None, message=message, inspection=an_inspection(findings=findings)
    )
    text = report.to_message()
    assert len(text.encode()) <= TERMINATION_LIMIT_BYTES
    kept = TerminationReport.from_bytes(text.encode()).inspection
    assert kept is not None
    assert kept.revision == an_inspection().revision


def test_short_report_is_not_touched() -> None:
    """What fits is told word for word."""
    report = a_report(message="disk full: give ephemeralStorage 40Gi")
    assert TerminationReport.from_bytes(report.to_message().encode()) == report


def test_row_survives_its_compact_form() -> None:
    """A row comes back as it was, but for the digest's tail and digits of the loss that no one reads."""
    back = expand_row(compact_row(a_row(500)))
    assert back == a_row(500, sha256=a_row().sha256[:SHORT_DIGEST])


def test_row_without_loss_stays_without() -> None:
    """An unknown loss is not turned into a number."""
    assert expand_row(compact_row(a_row(held_out_loss=None))).held_out_loss is None


def test_reason_is_a_word_of_the_contract() -> None:
    """The reason in a message is one that status can show."""
    assert TerminationReport.from_bytes(a_report().to_message().encode()).reason in set(Reason)
