"""Documents of the contract in a store: read with a sentence where they cannot be, written once."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from atelier_contract.base import Document
from atelier_materials.errors import InvalidInput, ObjectMissing
from atelier_materials.store.protocol import Shelf, Store

Kind = TypeVar("Kind", bound=Document)


def read_document(shelf: Shelf, key: str, kind: type[Kind]) -> Kind:
    """Read a document.

    Raises:
        ObjectMissing: there is none.
        InvalidInput: a newer release wrote it, or something else did.
    """
    return parse_document(shelf.read(key), kind, f"{key} in {shelf.address}")


def find_document(shelf: Shelf, key: str, kind: type[Kind]) -> Kind | None:
    """Read a document, or return None where there is none."""
    try:
        return read_document(shelf, key, kind)
    except ObjectMissing:
        return None


def write_document(store: Store, key: str, document: Document) -> None:
    """Write a document, once. Raises ObjectConflict where another lies already."""
    store.write(key, document.to_bytes())


def parse_document(data: bytes, kind: type[Kind], where: str) -> Kind:
    """Return the document in these bytes.

    Raises:
        InvalidInput: they are not of this kind; the first fault is named, never the value.
    """
    try:
        return kind.from_bytes(data)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the document"
        # Not chained: whoever logs the cause would log the values with it, and a revision's are captions.
        raise InvalidInput(
            f"{where} is not a {kind.__name__} that this release reads ({place}: {fault['msg']}): "
            "correct it if you wrote it yourself, else use a trainer image of the release that wrote it, or a newer"
        ) from None
