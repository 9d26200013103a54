"""What is said of a Secret or bucket that does not open: the Secret and the key to mend are named."""

from __future__ import annotations

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_materials.store.patience import Patience
from atelier_playground.s3 import FlakyProxy, S3Server
from trainer_pod import UPLOAD, Tenant


def refuse(tenant: Tenant, **secret: str | None) -> str:
    """Return what a pod with a changed Secret says; it must be StorageNotConfigured."""
    ending = tenant.pod(**secret).run(Role.INSPECT, tenant.inspect_input(UPLOAD))
    assert (ending.exit_code, ending.report.reason) == (ExitCode.INVALID_INPUT, Reason.STORAGE_NOT_CONFIGURED)
    return ending.report.message


def test_missing_secret(s3_tenant: Tenant) -> None:
    """A missing Secret is named together with everything it must hold."""
    message = refuse(s3_tenant, **dict.fromkeys(s3_tenant.secret))
    assert message.startswith("Secret atelier-storage is missing in this namespace")
    assert all(key in message for key in ("bucket", "endpoint", "accessKeyId", "secretAccessKey"))


def test_missing_keys(s3_tenant: Tenant) -> None:
    """Only the keys that are missing are named."""
    message = refuse(s3_tenant, secretAccessKey=None, bucket=None)
    assert message == "Secret atelier-storage lacks bucket, secretAccessKey: add what is missing"


def test_empty_key(s3_tenant: Tenant) -> None:
    """A key that is there but empty counts as missing."""
    assert "lacks accessKeyId" in refuse(s3_tenant, accessKeyId=" \n")


def test_wrong_access_key(s3_tenant: Tenant) -> None:
    """A key id that the server does not know is said to be wrong, and is not repeated."""
    message = refuse(s3_tenant, accessKeyId="nobody")
    assert "does not accept accessKeyId and secretAccessKey of Secret atelier-storage" in message
    assert "nobody" not in message


def test_wrong_secret_key(s3_tenant: Tenant) -> None:
    """A secret key that does not fit is said to be wrong, and is not repeated."""
    message = refuse(s3_tenant, secretAccessKey="guessed")
    assert "does not accept accessKeyId and secretAccessKey of Secret atelier-storage" in message
    assert "guessed" not in message


def test_missing_bucket(s3_tenant: Tenant) -> None:
    """A bucket that is not there is named with the key that names it."""
    message = refuse(s3_tenant, bucket="nowhere-at-all")
    assert message.startswith("bucket nowhere-at-all at http://127.0.0.1")
    assert message.endswith("does not exist: create it, or correct bucket in Secret atelier-storage")


def test_endpoint_is_no_address(s3_tenant: Tenant) -> None:
    """An endpoint without a scheme is refused with an example, and not repeated: it may be a key in the wrong place."""
    message = refuse(s3_tenant, endpoint="wJalrXUtnFEMI")
    assert message == "Secret atelier-storage: endpoint is not an address such as https://s3.example:9000"


def test_addressing_style(s3_tenant: Tenant) -> None:
    """An unknown addressing style is refused with those there are, and not repeated, as above."""
    message = refuse(s3_tenant, addressingStyle="sideways")
    assert "addressingStyle is neither path nor virtual" in message
    assert "sideways" not in message


def test_missing_volume(volume_tenant: Tenant) -> None:
    """A volume that is not mounted is named by its claim's role."""
    pod = volume_tenant.pod()
    pod.place(names.STORE_VOLUME_DIR).unlink()
    ending = pod.run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    assert ending.report.reason == Reason.STORAGE_NOT_CONFIGURED


@pytest.fixture
def proxied(s3_server: S3Server, s3_tenant: Tenant) -> tuple[FlakyProxy, Tenant]:
    """A tenant that reaches its bucket through a proxy which can fail."""
    proxy = FlakyProxy(s3_server.endpoint)
    s3_tenant.secret[names.KEY_ENDPOINT] = proxy.endpoint
    return proxy, s3_tenant


def test_bucket_that_fails_for_a_while_is_waited_for(proxied: tuple[FlakyProxy, Tenant]) -> None:
    """503 for some tries costs pauses, not the pod."""
    proxy, tenant = proxied
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            proxy.recover()

    with proxy:
        proxy.fail()
        patience = Patience(seconds=600, sleep=pause)
        ending = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD), patience)
    assert len(pauses) == 3
    assert pauses == sorted(pauses)
    assert ending.exit_code == ExitCode.DATASET_UNUSABLE  # reached: nothing has been pushed yet


def test_bucket_that_stays_away_ends_the_pod(proxied: tuple[FlakyProxy, Tenant]) -> None:
    """After the whole patience the pod ends with the code that is counted and tried again."""
    proxy, tenant = proxied
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    with proxy:
        proxy.fail()
        patience = Patience(clock=lambda: now[0], sleep=pause)
        ending = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD), patience)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.STORAGE_UNAVAILABLE, Reason.STORAGE_UNAVAILABLE)
    assert "answers 503" in ending.report.message
    assert 500 < now[0] <= 600


def test_nobody_listens(s3_tenant: Tenant) -> None:
    """An endpoint where nobody answers is unavailable, not wrong: it may come back."""
    pod = s3_tenant.pod(endpoint="http://127.0.0.1:9")
    ending = pod.run(Role.INSPECT, s3_tenant.inspect_input(UPLOAD))
    assert ending.exit_code == ExitCode.STORAGE_UNAVAILABLE
    assert "did not answer (EndpointConnectionError)" in ending.report.message
