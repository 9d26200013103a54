"""The operator's environment."""

from __future__ import annotations

import pytest

from atelier_contract import names
from atelier_operator.errors import SettingsInvalid
from atelier_operator.settings import read_settings

LEAST = {names.ENV_TRAINER_IMAGE: "atelier/trainer"}


def test_only_the_image_is_required():
    """Everything else has a default."""
    settings = read_settings(LEAST)
    assert (settings.port, settings.namespaces, settings.image_pull_policy) == (8081, (), "IfNotPresent")


def test_the_pod_name_holds_the_lease():
    """A restarted container is the same holder."""
    assert read_settings({**LEAST, names.ENV_POD_NAME: "atelier-0"}).identity == "atelier-0"


def test_two_processes_without_a_pod_name_are_two_holders(monkeypatch: pytest.MonkeyPatch):
    """On a laptop the process makes the difference."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    first = read_settings(LEAST).identity
    monkeypatch.setattr("os.getpid", lambda: 2)
    assert first != read_settings(LEAST).identity


def test_namespaces_are_split_at_commas():
    """Spaces do no harm."""
    assert read_settings({**LEAST, names.ENV_NAMESPACES: "team-a, team-b"}).namespaces == ("team-a", "team-b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (names.ENV_TRAINER_IMAGE, " "),
        (names.ENV_IMAGE_PULL_POLICY, "Sometimes"),
        (names.ENV_OPERATOR_PORT, "http"),
        (names.ENV_OPERATOR_PORT, "65536"),
        (names.ENV_CONCURRENCY, "0"),
        (names.ENV_LOG_LEVEL, "LOUD"),
        (names.ENV_NAMESPACES, "team_a"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str):
    """The message says which variable to mend."""
    with pytest.raises(SettingsInvalid, match=name):
        read_settings({**LEAST, name: value})
