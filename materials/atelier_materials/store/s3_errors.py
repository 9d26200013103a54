"""What a bucket's refusals mean for the user: botocore's errors in, ours out.

Three kinds: the Secret describes something that does not open (StorageNotConfigured, at once); the server cannot just
now (Unanswered, waited for); the object is not there (ObjectMissing).
"""

from __future__ import annotations

from botocore import exceptions as botocore_errors

from atelier_contract.names import (
    KEY_ACCESS_KEY_ID,
    KEY_BUCKET,
    KEY_CA_BUNDLE,
    KEY_ENDPOINT,
    KEY_REGION,
    KEY_SECRET_ACCESS_KEY,
)
from atelier_materials.errors import AtelierError, ObjectMissing, StorageNotConfigured
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Unanswered

MISSING_CODES = {"NoSuchKey", "404", "NotFound"}
KEY_CODES = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "InvalidToken"}
PASSING_CODES = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "429"}
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; numbers are what HEAD answers with."""
SERVER_ERROR_STATUS = 500
RANGE_REFUSED_STATUS = 416


def translate_error(error: Exception, description: BucketDescription, doing: str) -> AtelierError | Unanswered:
    """Return our error for one of botocore's.

    Args:
        error: what botocore raised.
        description: the bucket that was asked.
        doing: verb and key, for the message. Example: read teapots/owner.json.
    """
    where = f"bucket {description.bucket} at {describe_endpoint(description)}"
    if isinstance(error, botocore_errors.ClientError):
        return _translate_answer(error, description, doing, where)
    if isinstance(error, botocore_errors.SSLError):
        return StorageNotConfigured(
            f"{where} shows a certificate that is not trusted: put the certificate of its authority under "
            f"{KEY_CA_BUNDLE} into Secret {description.secret_name}"
        )
    if isinstance(error, (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError)):
        return StorageNotConfigured(
            f"{where} asks for keys: put {KEY_ACCESS_KEY_ID} and {KEY_SECRET_ACCESS_KEY} into Secret "
            f"{description.secret_name}, or give the service account an identity that opens it"
        )
    if isinstance(error, botocore_errors.ParamValidationError):
        return StorageNotConfigured(f"Secret {description.secret_name}: {KEY_BUCKET} is not a bucket's name ({where})")
    # All that is left is the connection: refused, timed out, closed, or cut in the middle of an answer.
    return Unanswered(f"{where} did not answer ({type(error).__name__})")


def _translate_answer(
    error: botocore_errors.ClientError, description: BucketDescription, doing: str, where: str
) -> AtelierError | Unanswered:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    secret = f"Secret {description.secret_name}"
    if code == "NoSuchBucket":
        return StorageNotConfigured(f"{where} does not exist: create it, or correct {KEY_BUCKET} in {secret}")
    if code in KEY_CODES:
        return StorageNotConfigured(
            f"{where} does not accept {KEY_ACCESS_KEY_ID} and {KEY_SECRET_ACCESS_KEY} of {secret} ({code}): "
            "correct them"
        )
    if code in MISSING_CODES:
        return ObjectMissing(f"could not {doing}: it is not in {where}")
    if code in PASSING_CODES or status >= SERVER_ERROR_STATUS:
        return Unanswered(f"{where} answers {status} {code}")
    if status == 403:
        return StorageNotConfigured(
            f"the keys of {secret} may not {doing} in {where} ({code}): allow reading, writing, listing and deleting "
            "below the namespace's prefix"
        )
    return StorageNotConfigured(
        f"{where} refused to {doing} ({status} {code}): check {KEY_REGION}, {KEY_ENDPOINT} and {KEY_BUCKET} of {secret}"
    )


def is_range_refused(error: botocore_errors.ClientError) -> bool:
    """Return whether a bucket says that an object has no such part."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) == RANGE_REFUSED_STATUS


def describe_endpoint(description: BucketDescription) -> str:
    """Return where a bucket is reached, for messages."""
    return description.endpoint or f"the cloud's own endpoint in {description.region}"
