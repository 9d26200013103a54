"""`publish` with `spec.publish.invokeAI`: what reaches the server, what is told; it never costs the publication."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier_contract.exit_codes import ExitCode
from atelier_contract.layout import RunLayout
from atelier_contract.names import KEY_INVOKEAI_TOKEN, TOKEN_DIR
from atelier_contract.publishing import PublishSpec
from atelier_contract.references import NameRef
from atelier_contract.roles import Role
from atelier_trainer.commands.ending import Ending
from fake_invokeai import FakeInvokeAi
from finalizing_pod import build_publish_input, choose, finish, published_keys
from learning import PIVOTAL
from published_run import true_files
from trainer_pod import Tenant

TOKEN = "a-token-of-an-administrator"


@pytest.fixture
def invokeai(tmp_path: Path) -> Iterator[FakeInvokeAi]:
    """A server with nothing installed."""
    server = FakeInvokeAi(tmp_path / "invokeai")
    yield server
    server.stop()


@pytest.fixture
def run(s3_tenant: Tenant, tmp_path: Path) -> RunLayout:
    """A finished run of a concept model and the embedding trained with it, in a bucket."""
    with true_files():
        return finish(s3_tenant, tmp_path, conceptModel={"embedding": PIVOTAL})


def publish_into(tenant: Tenant, run: RunLayout, url: str, *, token: str | None = None, secret: str = "") -> Ending:
    """Publish step 4 and have it installed; a token is mounted where one is given."""
    asked = PublishSpec.model_validate({"invokeAI": {"url": url}})
    if secret and asked.invoke_ai:
        invoke_ai = asked.invoke_ai.model_copy(update={"credentials_secret_ref": NameRef(name=secret)})
        asked = asked.model_copy(update={"invoke_ai": invoke_ai})
    pod = tenant.pod()
    if token:
        pod.place(TOKEN_DIR).mkdir(parents=True)
        (pod.place(TOKEN_DIR) / KEY_INVOKEAI_TOKEN).write_text(token)
    return pod.run(Role.PUBLISH, build_publish_input(tenant, choose(tenant, run, 4), publish=asked))


def is_installed(ending: Ending) -> bool | None:
    """Return what the last words say."""
    assert (ending.exit_code, ending.report.publish is not None) == (ExitCode.DONE, True), ending.report.message
    return ending.report.publish.installed if ending.report.publish else None


def test_both_files_are_installed_with_their_words(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """The concept model and its embedding arrive by links, under their published names, with trigger and preview."""
    ending = publish_into(s3_tenant, run, invokeai.url)
    assert (is_installed(ending), ending.report.message) == (True, f"in InvokeAI at {invokeai.url}: 2 Installed")
    by_type = {model["type"]: model for model in invokeai.models.values()}
    stem = next(k for k in published_keys(s3_tenant) if k.endswith("-embedding.json")).rpartition("/")[2][:-15]
    assert (by_type["lora"]["name"], by_type["embedding"]["name"]) == (stem, f"{stem}-embedding")
    assert set(by_type["lora"]["trigger_phrases"]) == {f"<{stem}-embedding>", "TKXW"}
    assert by_type["lora"]["description"].startswith("TKXW teapot. Concept model (LoRA), trained with Atelier.")
    assert all(model["cover_image"] for model in by_type.values())


def test_the_same_again_only_asks(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """A second publish Job finds everything there and changes nothing."""
    publish_into(s3_tenant, run, invokeai.url)
    invokeai.asked.clear()
    ending = publish_into(s3_tenant, run, invokeai.url)
    assert (is_installed(ending), invokeai.changes) == (True, [])
    assert ending.report.message.endswith(": 2 AlreadyThere")


def test_no_link_is_kept(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """The records name the objects without the signatures of the links."""
    publish_into(s3_tenant, run, invokeai.url)
    assert [model["source"] for model in invokeai.models.values() if "?" in model["source"]] == []


def test_the_mounted_token_opens(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """A server with accounts gets the token of the Secret."""
    invokeai.token = TOKEN
    assert is_installed(publish_into(s3_tenant, run, invokeai.url, token=TOKEN, secret="invoke"))


def test_a_secret_without_the_key(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """A named Secret that lacks the key is told with its name and the key's."""
    ending = publish_into(s3_tenant, run, invokeai.url, secret="invoke")
    assert is_installed(ending) is False
    assert "Secret invoke has no key atelier-invokeai-token" in ending.report.message


def test_a_refused_token_costs_nothing(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """Where the server refuses, the models are published all the same, and the token is in no message."""
    invokeai.token = TOKEN
    ending = publish_into(s3_tenant, run, invokeai.url, token="another-token", secret="invoke")
    assert is_installed(ending) is False
    assert "does not accept the token" in ending.report.message
    assert "another-token" not in ending.report.message
    assert len([key for key in published_keys(s3_tenant) if key.endswith(".safetensors")]) == 2


def test_a_token_that_is_none_costs_nothing(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """A Secret with something else in the token's place does not keep models from being published."""
    ending = publish_into(s3_tenant, run, invokeai.url, token="tök", secret="invoke")
    assert is_installed(ending) is False
    assert "holds signs that no token has" in ending.report.message
    assert len([key for key in published_keys(s3_tenant) if key.endswith(".safetensors")]) == 2


def test_a_refused_download_is_told_by_name(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """What the server refuses is named first, with its reason and what to do."""
    invokeai.allows_private_addresses = False
    ending = publish_into(s3_tenant, run, invokeai.url)
    assert is_installed(ending) is False
    assert ending.report.message.startswith(
        f"not all models are in InvokeAI at {invokeai.url}: tkxw-teapot-step-000004"
    )
    assert "set allow_private_download_urls: true" in ending.report.message


def test_a_server_that_is_down(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """A server that does not answer is told; the models are published."""
    invokeai.stop()
    ending = publish_into(s3_tenant, run, invokeai.url)
    assert is_installed(ending) is False
    assert f"InvokeAI at {invokeai.url} does not answer" in ending.report.message
    assert "see whether InvokeAI runs" in ending.report.message


def test_a_volume_gives_no_links(volume_tenant: Tenant, tmp_path: Path, invokeai: FakeInvokeAi) -> None:
    """From a volume InvokeAI can download nothing; it is not even asked, and the message says what to do."""
    layout = finish(volume_tenant, tmp_path)
    ending = publish_into(volume_tenant, layout, invokeai.url)
    assert is_installed(ending) is False
    assert "this store is a volume. Mount the volume in InvokeAI" in ending.report.message
    assert invokeai.asked == []


def test_an_edited_sidecars_words_count(s3_tenant: Tenant, run: RunLayout, invokeai: FakeInvokeAi) -> None:
    """What a person wrote into the sidecar in the store is what InvokeAI is told."""
    pod_input = build_publish_input(s3_tenant, choose(s3_tenant, run, 4))
    s3_tenant.pod().run(Role.PUBLISH, pod_input)
    key = next(k for k in published_keys(s3_tenant) if k.endswith(".json") and "-embedding" not in k)
    s3_tenant.store.delete([key])
    s3_tenant.store.write(key, b'{"description": "our pot", "activation text": "a pot, steaming"}')
    publish_into(s3_tenant, run, invokeai.url)
    (model,) = [one for one in invokeai.models.values() if one["type"] == "lora"]
    assert model["description"].startswith("our pot sha256 ")
    assert set(model["trigger_phrases"]) == {"a pot", "steaming"}
