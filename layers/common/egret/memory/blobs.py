"""Objects in memory."""

from __future__ import annotations

import threading
from datetime import timedelta
from urllib.parse import parse_qs, quote, unquote, urlsplit


class MemoryBlobs:
    """The `Blobs` port. Its URLs have the scheme `memory`; `upload` and `download` stand for the HTTP requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        """Store, durably when this returns."""
        with self._lock:
            self.objects[key] = bytes(body)

    def get(self, key: str) -> bytes | None:
        """Return the object, None when absent."""
        with self._lock:
            return self.objects.get(key)

    def beginning(self, key: str, size_bytes: int) -> bytes | None:
        """Return the first bytes of the object, all of a smaller one; None when absent."""
        body = self.get(key)
        return None if body is None else body[:size_bytes]

    def delete(self, key: str) -> None:
        """Remove. Idempotent."""
        with self._lock:
            self.objects.pop(key, None)

    def size(self, key: str) -> int | None:
        """Return the size in bytes, None when absent."""
        body = self.get(key)
        return None if body is None else len(body)

    def upload_url(self, key: str, size_bytes: int, valid: timedelta) -> str:
        """Return a URL that takes one PUT of exactly that size."""
        return f"memory://blobs/{quote(key)}?size={size_bytes}"

    def download_url(self, key: str, valid: timedelta) -> str:
        """Return a URL for one GET."""
        return f"memory://blobs/{quote(key)}"

    def upload(self, url: str, body: bytes) -> bool:
        """PUT to a URL; False when it is not for uploads, or the size is not the agreed one."""
        parts = urlsplit(url)
        if parse_qs(parts.query).get("size") != [str(len(body))]:
            return False
        self.put(unquote(parts.path.removeprefix("/")), body)
        return True

    def download(self, url: str) -> bytes | None:
        """GET a download URL."""
        return self.get(unquote(urlsplit(url).path.removeprefix("/")))
