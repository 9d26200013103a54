"""A report's page: self-contained, escaped, bounded, and in words."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from atelier_contract.report import FileFinding
from atelier_materials.dataset.report_page import MOST_PICTURES, build_page
from atelier_materials.dataset.wording import describe_bytes, describe_seconds, describe_verdict
from contract_examples import a_dataset_report, a_finding

THUMBNAIL = b"\xff\xd8\xff small"


class Outline(HTMLParser):
    """Notes every element of a page, with its attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def a_file(path: str, **changes: str) -> FileFinding:
    """Return a near-duplicate."""
    values = {"reason": "NearDuplicatePicture", "severity": "Warning", "path": path, "fix": "Keep the better one."}
    return FileFinding(**{**values, **changes})


def test_page_fetches_nothing() -> None:
    """No script, link or frame is in it, and every picture is in the page itself."""
    outline = Outline(build_page(a_dataset_report(), {"a.png": THUMBNAIL}, ["a.png"]))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in outline.elements}
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in outline.find("img"))


def test_page_forbids_everything_else() -> None:
    """Its own policy names the digest of its style and nothing that could be fetched."""
    page = build_page(a_dataset_report(), {}, [])
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policies = [meta["content"] for meta in Outline(page).find("meta") if "http-equiv" in meta]
    assert policies == [f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"]


def test_every_element_is_closed() -> None:
    """The page is well-formed: what is opened is closed, in order."""
    assert Outline(build_page(a_dataset_report(), {"a.png": THUMBNAIL}, ["a.png"])).open == []


def test_no_style_in_elements() -> None:
    """A style attribute would be forbidden by the policy, and so there is none."""
    outline = Outline(build_page(a_dataset_report(), {"a.png": THUMBNAIL}, ["a.png"]))
    assert not [tag for tag, attributes in outline.elements if "style" in attributes]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>.png", 'a" onload="x.png', "a&b.png", "$style.png"])
def test_names_are_escaped(name: str) -> None:
    """A hostile name is text wherever it stands: in a list, as a picture's text, as the dataset's name."""
    report = a_dataset_report(dataset=name, files=[a_file(name, other=name, detail="nearly")])
    outline = Outline(build_page(report, {name: THUMBNAIL}, [name]))
    assert not outline.find("script")
    assert {image["alt"] for image in outline.find("img")} == {name}
    assert not [attributes for _, attributes in outline.elements if "onload" in attributes]


def test_turned_names_are_shown_as_they_are() -> None:
    """Marks that turn the direction of writing are printed as numbers."""
    page = build_page(a_dataset_report(files=[a_file("a\u202egnp.exe")]), {}, [])
    assert "\u202e" not in page
    assert "a\\u202egnp.exe" in page


def test_pictures_are_bounded() -> None:
    """Of many pictures as many are shown as a page bears, those with findings first; the rest is counted."""
    paths = [f"{number:04}.png" for number in range(MOST_PICTURES + 7)]
    report = a_dataset_report(files=[a_file("0001.png", other="0000.png")])
    outline = Outline(build_page(report, dict.fromkeys(paths, THUMBNAIL), paths))
    assert len(outline.find("img")) == MOST_PICTURES
    assert "and 9 more" in outline.text


def test_further_files_are_counted() -> None:
    """What the status counts and the report does not name is told as a number."""
    report = a_dataset_report(
        findings=[a_finding(reason="NearDuplicatePicture", severity="Warning", count=41)], files=[a_file("a.png")]
    )
    assert "and 40 more" in Outline(build_page(report, {}, [])).text


def test_page_without_usable_pictures() -> None:
    """With nothing usable the page says so and stays whole."""
    report = a_dataset_report(revision="", items=0, resolution=None, plans=[])
    outline = Outline(build_page(report, {}, []))
    assert "No picture can be used" in outline.text
    assert outline.open == []


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (940, "940 B"), (9_400, "9.4 kB"), (3_400_000_000, "3.4 GB"), (10**13, "10 TB")],
)
def test_sizes_in_words(count: int, said: str) -> None:
    """Sizes are told in powers of ten with two digits at least."""
    assert describe_bytes(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 s"), (720, "12 min"), (7200, "2 h"), (12_000, "3 h 20 min")])
def test_times_in_words(seconds: int, said: str) -> None:
    """Times are told as people say them."""
    assert describe_seconds(seconds) == said


@pytest.mark.parametrize(
    ("changes", "grade", "said"),
    [
        ({"findings": []}, "good", "Usable for concept models and embeddings. Nothing stands in the way."),
        ({}, "error", "Usable for concept models and embeddings. 1 error."),
        ({"captioned": 1, "findings": []}, "good", "a concept model needs a caption for every picture"),
        ({"items": 0}, "error", "No picture can be used"),
    ],
)
def test_verdict(changes: dict[str, object], grade: str, said: str) -> None:
    """One sentence tells what a dataset can be used for and what is in the way."""
    found, sentence = describe_verdict(a_dataset_report(**changes))
    assert found == grade
    assert said in sentence
