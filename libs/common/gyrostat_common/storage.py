"""Object storage as every part of ours uses it: bounded in time, and its failures in words that name the variable.

Endpoint, region and credentials come from the store's own standard variables (AWS_…, GOOGLE_…, AZURE_…), which obstore
and deltalake read alike: docs/storage.md. Callers: `artifacts`, the monitor's archive, the trainer's tables.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from gyrostat_common.errors import InvalidInput, Unavailable

CONNECT_S, READ_S = 3, 30
# No further try is begun after RETRY_S; the whole of one transfer may take TRANSFER_S.
RETRIES, RETRY_S, TRANSFER_S = 3, 15, 900


class BucketMissing(Unavailable):
    """The bucket or container does not exist. Nobody of ours makes one."""


class StorageDenied(Unavailable):
    """The store knows no credentials of ours, or they may not do this."""


class StorageUnreachable(Unavailable):
    """Nobody answers at the endpoint."""


def is_local(uri: str) -> bool:
    """A folder of this machine, plain or file://."""
    return urlsplit(uri).scheme in ("", "file")


def opened(uri: str) -> ObjectStore:
    """The store below an address, without asking it anything. InvalidInput when it is no address of a store."""
    if is_local(uri):
        return LocalStore(prefix=Path(urlsplit(uri).path), mkdir=True)  # writes beside and renames: atomic
    words = _words(uri)
    try:
        # What is passed here replaces what the library read of its own accord, so plain HTTP is asked for once more.
        return from_url(
            uri,
            client_options={
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "read_timeout": timedelta(seconds=READ_S),
                "timeout": timedelta(seconds=TRANSFER_S),
                "allow_http": os.environ.get(words["http"], "").lower() in ("true", "1", "yes", "on"),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
    except (BaseError, ValueError) as error:
        raise InvalidInput(f"{uri} cannot be a store's address: {_first_line(error)}") from error


def delta_options(uri: str) -> dict[str, str] | None:
    """What deltalake is to be told beside the standard variables: the bounds. None for a local folder."""
    if is_local(uri):
        return None
    return {
        "connect_timeout": f"{CONNECT_S}s",
        "timeout": f"{2 * READ_S}s",
        "max_retries": str(RETRIES),
        "retry_timeout": f"{RETRY_S}s",
    }


def explained(error: BaseException, uri: str) -> Unavailable:
    """An error of obstore or deltalake in our words: which store, what is wrong with it, what to set.

    Parts of the reply stay out of it: a refusal of S3 quotes the signed request.
    """
    if is_local(uri):
        full = re.search(r"No space left on device|File too large|Disk quota exceeded", str(error))
        return Unavailable(f"{uri} cannot be used: {full[0] if full else _first_line(error)}")
    text, words = str(error), _words(uri)
    at = f" at {found[1]}" if (found := re.search(r"(https?://[^/\s?]+)", text)) else ""
    code = f" ({found[1]})" if (found := re.search(r"<Code>(\w+)</Code>", text)) else ""
    if is_missing_bucket(error):
        return BucketMissing(f"the bucket of {uri} does not exist{at}: make it, or correct the address")
    if "169.254.169.254" in text or "metadata.google.internal" in text:
        return StorageDenied(f"there are no credentials for {uri}: set {words['credentials']}")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or re.search(r"\b40[13] \w", text):
        return StorageDenied(
            f"{uri}{at} refuses our credentials{code}: check {words['credentials']}, "
            "and that they may read, write and list there"
        )
    if "builder error" in text and "http://" in text:
        return StorageUnreachable(f"{uri}{at} is asked without TLS: set {words['http']}=true if that is meant")
    if "error sending request" in text or "timed out" in text or "HTTP error" in text:
        why = re.search(r"Connection refused|[Tt]imed ?[Oo]ut|dns error|[Cc]ertificate[\w ]*|reset by peer", text)
        because = f" ({why[0]})" if why else ""
        return StorageUnreachable(f"{uri} does not answer{at}{because}: check {words['endpoint']}")
    return Unavailable(f"{uri} cannot be used: {_first_line(error)}")


def is_missing_bucket(error: BaseException) -> bool:
    """The store says that it has no such bucket; both libraries call that a missing object."""
    return bool(re.search(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist", str(error)))


_AWS = {
    "credentials": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "endpoint": "AWS_ENDPOINT_URL",
    "http": "AWS_ALLOW_HTTP",
}
_GOOGLE = {
    "credentials": "GOOGLE_APPLICATION_CREDENTIALS",
    "endpoint": "the network and GOOGLE_APPLICATION_CREDENTIALS",
    "http": "GOOGLE_ALLOW_HTTP",
}
_AZURE = {
    "credentials": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "endpoint": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_ENDPOINT",
    "http": "AZURE_ALLOW_HTTP",
}


def _words(uri: str) -> dict[str, str]:
    scheme = urlsplit(uri).scheme
    if scheme in ("gs", "gcs"):
        return _GOOGLE
    return _AZURE if scheme in ("az", "adl", "azure", "abfs", "abfss") else _AWS


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
