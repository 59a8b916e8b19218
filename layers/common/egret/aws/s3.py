"""Objects in S3."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from egret.aws.clients import Clients, calling, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_ABSENT = ("NoSuchKey", "404", "NotFound")


class S3Blobs:
    """The `Blobs` port over one bucket."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    def put(self, key: str, body: bytes) -> None:
        """Store, durably when this returns."""
        with calling("s3 PutObject"):
            self._clients.s3.put_object(Bucket=self._bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes | None:
        """Return the object, None when absent."""
        return _read(lambda: self._clients.s3.get_object(Bucket=self._bucket, Key=key))

    def beginning(self, key: str, size_bytes: int) -> bytes | None:
        """Return the first bytes of the object, all of a smaller one; None when absent."""
        span = f"bytes=0-{size_bytes - 1}"
        return _read(lambda: self._clients.s3.get_object(Bucket=self._bucket, Key=key, Range=span))

    def delete(self, key: str) -> None:
        """Remove. Idempotent."""
        with calling("s3 DeleteObject"):
            self._clients.s3.delete_object(Bucket=self._bucket, Key=key)

    def size(self, key: str) -> int | None:
        """Return the size in bytes, None when absent."""
        with calling("s3 HeadObject"):
            try:
                return self._clients.s3.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise

    def upload_url(self, key: str, size_bytes: int, valid: timedelta) -> str:
        """Return a presigned URL that takes one PUT of exactly that size: Content-Length is part of the signature."""
        return self._presign("put_object", {"Key": key, "ContentLength": size_bytes}, valid)

    def download_url(self, key: str, valid: timedelta) -> str:
        """Return a presigned URL for one GET."""
        return self._presign("get_object", {"Key": key}, valid)

    def _presign(self, operation: str, parameters: dict[str, str | int], valid: timedelta) -> str:
        with calling(f"s3 presign {operation}"):
            return self._clients.s3.generate_presigned_url(
                operation,
                Params={"Bucket": self._bucket, **parameters},
                ExpiresIn=int(valid.total_seconds()),
            )


def _read(get: Callable[[], GetObjectOutputTypeDef]) -> bytes | None:
    with calling("s3 GetObject"):
        try:
            return get()["Body"].read()
        except ClientError as error:
            if code_of(error) in _ABSENT:
                return None
            if code_of(error) == "InvalidRange":
                return b""  # an empty object has no first byte
            raise
