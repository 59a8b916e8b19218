"""The contract of `Blobs`: objects by key, and URLs for strangers."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from tests.integration.contract.backends import Backend

KEY = "uploads/abcdefgh/1"
VALID = timedelta(minutes=5)


@pytest.mark.parametrize("size_bytes", [0, 1, 6_000_000])
def test_object_comes_back_as_it_was(backend: Backend, size_bytes: int) -> None:
    """Byte for byte, and with its size."""
    body = os.urandom(size_bytes)
    backend.blobs.put(KEY, body)

    assert body == backend.blobs.get(KEY)
    assert backend.blobs.size(KEY) == size_bytes


@pytest.mark.parametrize(("body", "beginning"), [(b"abcdef", b"abcd"), (b"abcd", b"abcd"), (b"a", b"a"), (b"", b"")])
def test_the_beginning_of_an_object(backend: Backend, body: bytes, beginning: bytes) -> None:
    """As much as there is."""
    backend.blobs.put(KEY, body)

    assert backend.blobs.beginning(KEY, 4) == beginning
    assert backend.blobs.beginning(KEY + "2", 4) is None


def test_newer_object_replaces(backend: Backend) -> None:
    """The last one put is there."""
    backend.blobs.put(KEY, b"one")
    backend.blobs.put(KEY, b"three")

    assert backend.blobs.get(KEY) == b"three"
    assert backend.blobs.size(KEY) == 5


def test_absent_object_is_none(backend: Backend) -> None:
    """Neither content nor size, also when a longer key exists."""
    backend.blobs.put(KEY + "/2", b"x")

    assert backend.blobs.get(KEY) is None
    assert backend.blobs.size(KEY) is None


def test_deleting_is_idempotent(backend: Backend) -> None:
    """Gone, and gone again; others stay."""
    backend.blobs.put(KEY, b"x")
    backend.blobs.put(KEY + "1", b"y")
    for _ in range(2):
        backend.blobs.delete(KEY)

    assert backend.blobs.get(KEY) is None
    assert backend.blobs.get(KEY + "1") == b"y"


@pytest.mark.parametrize("key", ["uploads/abcdefgh/a b+c&d=e?f#g%41ü", "inbound/2031-03-01/0001"])
def test_upload_url_takes_an_object(backend: Backend, key: str) -> None:
    """A PUT to the URL puts it under the key, whatever characters that has."""
    body = os.urandom(100_000)

    assert backend.upload(backend.blobs.upload_url(key, len(body), VALID), body)
    assert body == backend.blobs.get(key)


@pytest.mark.parametrize("key", ["uploads/abcdefgh/a b+c&d=e?f#g%41ü", "content/abcdefgh/1"])
def test_download_url_gives_the_object(backend: Backend, key: str) -> None:
    """A GET of the URL, and nothing where nothing is."""
    before = backend.download(backend.blobs.download_url(key, VALID))
    backend.blobs.put(key, b"\x00body\xff")

    assert before is None
    assert backend.download(backend.blobs.download_url(key, VALID)) == b"\x00body\xff"


def test_upload_url_takes_no_other_size(backend: Backend) -> None:
    """Who was allowed a small file cannot store a large one."""
    if backend.name == "moto":
        pytest.skip("it does not check signatures")
    url = backend.blobs.upload_url(KEY, 10, VALID)

    assert [backend.upload(url, bytes(size)) for size in (9, 11, 100_000)] == [False, False, False]
    assert backend.blobs.get(KEY) is None
    assert backend.upload(url, bytes(10))


def test_url_for_one_key_opens_no_other(backend: Backend) -> None:
    """Neither does an upload URL give, nor a download URL take."""
    if backend.name == "moto":
        pytest.skip("it does not check signatures")
    backend.blobs.put(KEY, b"secret")
    url = backend.blobs.download_url(KEY + "0", VALID)

    assert backend.download(url) is None
    assert backend.upload(url, b"x") is False
