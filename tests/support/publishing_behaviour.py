"""`kubectl atelier publish --to invokeai`, as tests that the fake and the real InvokeAI server both pass."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from atelier_contract.architectures import Architecture
from atelier_materials.invokeai.installing import Became
from atelier_materials.invokeai.server import InvokeAiServer
from atelier_materials.store.bucket import BucketDescription
from atelier_studio.actions.publishing import InvokeAiTarget, publish
from atelier_studio.cli import publishing
from atelier_studio.cli.main import app
from invokeai_behaviour import QUICKLY
from learning import PIVOTAL
from published_run import OneJobCluster, PublishedRun, publish_run

SD1 = Architecture.STABLE_DIFFUSION_1
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture
def target(invokeai_url: str) -> InvokeAiTarget:
    """The server, as on this machine."""
    return InvokeAiTarget(invokeai_url, waiting=QUICKLY)


@pytest.fixture
def run(bucket: BucketDescription, tmp_path: Path) -> PublishedRun:
    """A published run of a concept model with its embedding."""
    return publish_run(bucket, tmp_path, 4, conceptModel={"embedding": PIVOTAL})


def type_publish(
    monkeypatch: pytest.MonkeyPatch, run: PublishedRun, *words: str, secrets: dict[str, dict[str, str]] | None = None
) -> Result:
    """Type `kubectl atelier publish teapot` and some words; return what was printed and the exit code."""
    monkeypatch.setattr(publishing, "Cluster", lambda *_: OneJobCluster(run, secrets or {}))
    return CliRunner().invoke(app, ["publish", "teapot", *words])


class PublishingBehaviour:
    """What a person's publication does."""

    def test_both_files_arrive(self, run: PublishedRun, target: InvokeAiTarget) -> None:
        """Concept model and embedding are recognised, with all that is known of them."""
        done = publish(run.opened, run.body, target)
        assert [one.became for one in done] == [Became.INSTALLED, Became.INSTALLED]
        concept, embedding = (one.name for one in done)
        with InvokeAiServer(target.url) as server:
            (lora,) = [r for r in server.list_models("ConceptModel", SD1) if r.name == concept]
            (words,) = [r for r in server.list_models("Embedding", SD1) if r.name == embedding]
        assert set(lora.trigger_phrases or ()) == {f"<{embedding}>", "TKXW"}
        assert (lora.description or "").startswith("TKXW teapot. Concept model (LoRA), trained with Atelier.")
        assert lora.cover_image
        assert words.cover_image

    def test_the_verb_tells_what_became_of_each(
        self, run: PublishedRun, target: InvokeAiTarget, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`kubectl atelier publish JOB --to invokeai` installs, and the same again changes nothing."""
        for became in ("Installed", "AlreadyThere"):
            typed = type_publish(monkeypatch, run, "--to", "invokeai", "--url", target.url, "-o", "json")
            assert typed.exit_code == 0, typed.output
            assert [one["became"] for one in json.loads(typed.stdout)["items"]] == [became, became]

    def test_the_same_again_finds_all_there(self, run: PublishedRun, target: InvokeAiTarget) -> None:
        """A second publication changes nothing, and says so."""
        publish(run.opened, run.body, target)
        assert {one.became for one in publish(run.opened, run.body, target)} == {Became.ALREADY_THERE}

    def test_a_link_serves_where_no_file_is_seen(
        self, run: PublishedRun, target: InvokeAiTarget, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that is elsewhere downloads from the bucket."""
        monkeypatch.setattr(InvokeAiTarget, "is_here", False)
        assert {one.became for one in publish(run.opened, run.body, target)} == {Became.INSTALLED}

    def test_the_clusters_address_gives_way_to_the_one_from_here(
        self, run: PublishedRun, target: InvokeAiTarget, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the server cannot reach the address that the cluster knows, the other one is tried."""
        monkeypatch.setattr(InvokeAiTarget, "is_here", False)
        target = replace(target, cluster_endpoint=UNREACHABLE)
        assert {one.became for one in publish(run.opened, run.body, target)} == {Became.INSTALLED}

    def test_records_tell_no_signature_and_no_folder_of_ours(
        self, run: PublishedRun, target: InvokeAiTarget, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a link, the record keeps what names the object."""
        monkeypatch.setattr(InvokeAiTarget, "is_here", False)
        (concept, _) = publish(run.opened, run.body, target)
        with InvokeAiServer(target.url) as server:
            (record,) = [r for r in server.list_models("ConceptModel", SD1) if r.name == concept.name]
        assert re.fullmatch(r"http://127.0.0.1:\d+/[^?]+\.safetensors", record.source)
