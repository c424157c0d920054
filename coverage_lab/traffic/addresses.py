"""Files of object stores, through Arrow's file systems."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs

from coverage_lab.errors import TrafficError
from coverage_lab.files.stand_in import private_folder
from coverage_lab.untrusted.text import first_line, shown

_ADDRESS: Final = re.compile(r"(s3a?|gs|gcs|az|abfss?)://")


def is_address(text: str) -> bool:
    """Whether a text is the address of an object store."""
    return _ADDRESS.match(text) is not None


def fetched(address: str) -> Path:
    """Fetch what an address names into a folder of its own; what is there already stays.

    Parameters
    ----------
    address
        `s3://`, `gs://` or `az://`: a file, a folder or a glob. Credentials come from the environment, as the
        stores' own tools read them.

    Returns
    -------
    Path
        A folder under the system's temporary one, for this user and address only.

    Raises
    ------
    TrafficError
        The store can't be reached or lets nobody in, or has nothing there.
    """
    scheme = address.partition(":")[0]
    where = f"input {shown(address)}"
    pattern = glob.has_magic(address)
    try:
        system, path = _file_system(address, scheme)
        start = re.split(r"[^/]*[*?\[]", path, maxsplit=1)[0].rstrip("/") if pattern else path.rstrip("/")
        info = system.get_file_info(start)
        found = [info]
        if info.type != pa.fs.FileType.File:
            found = system.get_file_info(pa.fs.FileSelector(start, recursive=True, allow_not_found=True))
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        raise TrafficError(
            f"{where}: can't be read ({first_line(error)}); check the address and the store's credentials "
            "(access key, account, endpoint) in the environment"
        ) from error
    files = [
        one
        for one in found
        if one.type == pa.fs.FileType.File and (not pattern or fnmatch.fnmatchcase(one.path, path))
    ]
    if not files:
        raise TrafficError(f"{where}: no traffic found (expected files there)")
    place = private_folder("input", address)
    targets = {place / (one.path.removeprefix(start).lstrip("/") or one.base_name): one for one in files}
    for gone in set(place.rglob("*")) - set(targets):
        if gone.is_file():
            gone.unlink()
    try:
        for target, one in targets.items():
            _fetch(system, one, target)
    except (OSError, pa.ArrowException) as error:
        raise TrafficError(f"{where}: can't be fetched to {place} ({first_line(error)})") from error
    return place


def _file_system(address: str, scheme: str) -> tuple[Any, str]:
    if scheme in ("az", "abfs", "abfss"):
        account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or os.environ.get("AZURE_STORAGE_ACCOUNT")
        if not account:
            raise ValueError("AZURE_STORAGE_ACCOUNT_NAME, the storage account, is not set")
        key = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY") or os.environ.get("AZURE_STORAGE_KEY")
        return pa.fs.AzureFileSystem(account, account_key=key), address.partition("://")[2]
    if scheme in ("s3", "s3a"):
        options = {"endpoint_override": os.environ.get("AWS_ENDPOINT_URL")}
        retries = pa.fs.AwsStandardS3RetryStrategy(max_attempts=int(os.environ.get("AWS_MAX_ATTEMPTS", "3")))
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        system = pa.fs.S3FileSystem(
            region=region, retry_strategy=retries, connect_timeout=10, request_timeout=60, **options
        )
        return system, address.partition("://")[2]
    return pa.fs.GcsFileSystem(retry_time_limit=timedelta(seconds=30)), address.partition("://")[2]


def _fetch(system: Any, info: Any, target: Path) -> None:
    """Copy a file unless it is there with this size and time, which also is its own time from then on."""
    stamp = info.mtime.timestamp() if info.mtime is not None else 0.0
    if target.exists() and (target.stat().st_size, target.stat().st_mtime) == (info.size, stamp):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with system.open_input_stream(info.path) as source, partial.open("wb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
    os.utime(partial, (stamp, stamp))
    partial.replace(target)
