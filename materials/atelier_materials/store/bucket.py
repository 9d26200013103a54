"""What a Secret says of a bucket and how to reach it, read from wherever the Secret's keys lie as text.

In: the Secret's values by key: a pod has them as mounted files, a person's own machine from the API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from atelier_contract import names
from atelier_materials.errors import StorageNotConfigured

AddressingStyle = Literal["path", "virtual", "auto"]


@dataclass(frozen=True)
class BucketDescription:
    """What a Secret says of a bucket and how to reach it."""

    secret_name: str
    """For messages."""
    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    """None: the cloud's own endpoint of the region."""
    region: str = "us-east-1"
    access_key_id: str | None = None
    """None: the service account brings its own identity."""
    secret_access_key: str | None = None
    ca_bundle: Path | None = None
    """File with the certificates to trust; None: the system's."""
    addressing_style: AddressingStyle = "path"
    """`path` works with every server; `virtual` is what some clouds ask for."""


def describe_bucket(
    values: Mapping[str, str],
    secret_name: str,
    *,
    has_identity: bool,
    bucket: str = "",
    ca_bundle: Path | None = None,
) -> BucketDescription:
    """Return what the values of a Secret say of a bucket.

    Args:
        values: text of the Secret's keys (`names.STORE_KEYS`); one that is not there counts as empty.
        secret_name: name of the Secret, for messages.
        has_identity: whether the two keys of an access may be left out.
        bucket: a bucket named elsewhere (an `s3://` address), which the Secret need not name.
        ca_bundle: file that holds what lies under the Secret's `caBundle`.

    Raises:
        StorageNotConfigured: keys are missing (all that are missing are named at once), or one makes no sense.
    """
    told = {key: values.get(key, "").strip() for key in names.STORE_KEYS}
    missing = [] if told[names.KEY_BUCKET] or bucket else [names.KEY_BUCKET]
    if not told[names.KEY_ENDPOINT] and not told[names.KEY_REGION]:
        missing.append(f"{names.KEY_ENDPOINT} (or {names.KEY_REGION} for the cloud's own)")
    access = [told[names.KEY_ACCESS_KEY_ID], told[names.KEY_SECRET_ACCESS_KEY]]
    if not all(access) and not (has_identity and not any(access)):
        missing += [key for key in (names.KEY_ACCESS_KEY_ID, names.KEY_SECRET_ACCESS_KEY) if not told[key]]
    if missing:
        raise StorageNotConfigured(_describe_missing(secret_name, missing, nothing_there=not any(told.values())))
    return BucketDescription(
        secret_name=secret_name,
        bucket=bucket or told[names.KEY_BUCKET],
        prefix=told[names.KEY_PREFIX].strip("/"),
        endpoint=told[names.KEY_ENDPOINT] or None,
        region=told[names.KEY_REGION] or "us-east-1",
        access_key_id=told[names.KEY_ACCESS_KEY_ID] or None,
        secret_access_key=told[names.KEY_SECRET_ACCESS_KEY] or None,
        ca_bundle=ca_bundle if told[names.KEY_CA_BUNDLE] else None,
        addressing_style=_read_style(told[names.KEY_ADDRESSING_STYLE], secret_name),
    )


def read_bucket(folder: Path, secret_name: str, has_identity: bool, bucket: str = "") -> BucketDescription:
    """Read the mounted keys of a Secret that describes a bucket.

    Args:
        folder: where the keys lie as files. A missing Secret leaves it empty: its volume is optional.
        secret_name: as for `describe_bucket`, like the rest.
        has_identity: whether the pod's service account brings an identity of its own.
        bucket: a bucket named elsewhere.

    Raises:
        StorageNotConfigured: as `describe_bucket` says.
    """
    paths = {key: folder / key for key in names.STORE_KEYS}
    values = {key: path.read_text() for key, path in paths.items() if path.is_file()}
    return describe_bucket(
        values, secret_name, has_identity=has_identity, bucket=bucket, ca_bundle=folder / names.KEY_CA_BUNDLE
    )


def _read_style(value: str, secret_name: str) -> AddressingStyle:
    for style in get_args(AddressingStyle):
        if (value or "path") == style:
            return cast("AddressingStyle", style)
    raise StorageNotConfigured(
        f"Secret {secret_name}: {names.KEY_ADDRESSING_STYLE} is neither path nor virtual: write one of the two, "
        "or leave it out"
    )


def _describe_missing(secret_name: str, missing: list[str], nothing_there: bool) -> str:
    keys = ", ".join(missing)
    if nothing_there:
        return (
            f"Secret {secret_name} is missing in this namespace or holds none of the keys that describe a store: "
            f"create it with {keys}"
        )
    return f"Secret {secret_name} lacks {keys}: add what is missing"
