"""What model files say of themselves, level by level, and what they never say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

import reader_rules as rules
from atelier_contract.architectures import Architecture
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.metadata import describe_dataset
from atelier_trainer.records import Picture
from exported import Exported, export, write_base

Find = Callable[[Architecture, str], Exported]
SD1, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1


def read_metadata(file: Path) -> dict[str, str]:
    """Return a file's own words."""
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


@pytest.fixture(scope="session")
def levels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The words of the same model at each level."""
    root = tmp_path_factory.mktemp("levels")
    base = write_base(SD1, root / "base")
    return {
        level: read_metadata(export(SD1, "attention", base, root / level, metadata=level).files["ConceptModel"])
        for level in ("minimal", "standard", "full")
    }


@pytest.mark.parametrize(
    ("architecture", "version", "base", "prediction"),
    [
        (SD1, "sd_v1", "stable-diffusion-v1", "epsilon"),
        (XL, "sdxl_base_v1-0", "stable-diffusion-xl-v1-base", "epsilon"),
        (FLUX, "flux1", "flux-1-dev", None),
    ],
)
def test_a_file_names_its_base(
    architecture: Architecture, version: str, base: str, prediction: str | None, shelf: Find
) -> None:
    """Base, kind and prediction type are said in kohya's and in ModelSpec's words; a flow has no word there."""
    told = read_metadata(shelf(architecture, "attention").files["ConceptModel"])
    assert told["ss_base_model_version"] == version
    assert told["modelspec.architecture"] == f"{base}/lora"
    assert told.get("modelspec.prediction_type") == prediction


@pytest.mark.parametrize("architecture", [SD1, XL])
def test_the_embedding_of_a_pair_says_that_it_is_one(architecture: Architecture, shelf: Find) -> None:
    """Beside a concept model the second file is a textual inversion, and has no network."""
    told = read_metadata(shelf(architecture, "pivotal").files["Embedding"])
    assert told["modelspec.architecture"].endswith("/textual-inversion")
    assert not [key for key in told if key.startswith("ss_network")]


def test_kohyas_minimum_is_always_there(levels: dict[str, dict[str, str]]) -> None:
    """What merge tools keep is in every file, whatever the level."""
    wanted = {"ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"}
    assert all(wanted | {"ss_network_args"} <= set(told) for told in levels.values())


def test_digests_are_of_the_tensors(shelf: Find) -> None:
    """Kohya's and ModelSpec's digests are the sha256 of what follows the header."""
    file = shelf(XL, "attention").files["ConceptModel"]
    digest = hashlib.sha256(rules.read_body(file)).hexdigest()
    told = read_metadata(file)
    assert (told["sshs_model_hash"], told["modelspec.hash_sha256"]) == (digest, f"0x{digest}")


def test_the_minimum_tells_nothing_of_training(levels: dict[str, dict[str, str]]) -> None:
    """No rate, seed, count, caption or digest of the run is in a minimal file."""
    told = levels["minimal"]
    assert not [key for key in told if re.search(r"_lr|seed|num_|tag|bucket|atelier", key)]
    assert not re.search(
        r"a teapot|red|/datasets|[0-9a-f]{64}", " ".join(v for k, v in told.items() if "hash" not in k)
    )


def test_the_standard_tells_how_it_was_trained(levels: dict[str, dict[str, str]]) -> None:
    """Steps, rates, batch, seed and counts are told, the digests that pin the run too; no words of captions."""
    told = levels["standard"]
    expected = {
        "ss_learning_rate": "0.001",
        "ss_text_encoder_lr": "None",
        "ss_max_train_steps": "6",
        "ss_steps": "6",
        "ss_epoch": "3",
        "ss_total_batch_size": "4",
        "ss_seed": "7",
        "ss_num_train_images": "5",
        "ss_resolution": "(64, 64)",
        "ss_optimizer": "AdamW",
        "atelier.run": "1" * 64,
        "atelier.dataset_revision": "d" * 64,
    }
    assert {key: told.get(key) for key in expected} == expected
    assert not re.search(r"\bred\b|a teapot", " ".join(told.values()))


def test_repeats_count_as_pictures_of_an_epoch() -> None:
    """Two pictures of which one is shown three times are four, as kohya's own trainer counts them."""
    pictures = [Picture(Path("a.png"), "a", caption=None), Picture(Path("b.png"), "b", caption=None, repeats=3)]
    plan = BatchPlan([(64, 64)] * 2, 2, Draws(0), [picture.repeats for picture in pictures])
    facts = describe_dataset(pictures, plan)
    assert (facts.shown, facts.steps_per_epoch, len(facts.shapes)) == (4, 2, 2)


def test_the_full_level_counts_the_parts_of_captions(levels: dict[str, dict[str, str]]) -> None:
    """Tag frequencies and shapes are told as A1111 reads them, under one name that is no folder's."""
    told = levels["full"]
    assert json.loads(told["ss_tag_frequency"]) == {"dataset": {"TKXW": 2, "a teapot": 1, "red": 2}}
    assert json.loads(told["ss_bucket_info"]) == {
        "buckets": {"0": {"resolution": [64, 64], "count": 1}, "1": {"resolution": [64, 128], "count": 1}}
    }


def test_no_level_tells_a_date_or_a_folder(levels: dict[str, dict[str, str]]) -> None:
    """Equal weights give equal files: nothing in them is of the clock or of this machine."""
    for told in levels.values():
        words = " ".join(f"{key} {value}" for key, value in told.items())
        assert not re.search(r"started_at|finished_at|session_id|modelspec\.date|20\d\d-\d\d-\d\d|/tmp|/home", words)


def test_equal_runs_give_equal_files(tmp_path: Path) -> None:
    """Two exports of one method at the level that says most are the same to the byte."""
    base = write_base(SD1, tmp_path / "base")
    one, same = (
        export(SD1, "attention", base, tmp_path / name, metadata="full").files["ConceptModel"].read_bytes()
        for name in ("one", "same")
    )
    assert one == same


def test_schnell_is_not_called_dev(tmp_path: Path) -> None:
    """A model of schnell says so; Forge still knows it as one of FLUX.1."""
    from tiny_models import write_flux

    base = write_flux(tmp_path / "base", schnell=True)
    told = read_metadata(export(FLUX, "attention", base, tmp_path / "out").files["ConceptModel"])
    assert told["modelspec.architecture"] == "flux-1-schnell/lora"
    assert rules.classify_for_forge(told) == "Flux"
