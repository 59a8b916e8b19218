"""Files of a message: in the request, or uploaded before."""

from __future__ import annotations

import base64
import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest

from egret.contracts.settings import Installation
from egret.contracts.webapi import ErrorCode, File, UploadCreateRequest
from egret.core.errors import InvalidRequest
from egret.usecases.attachments import UPLOAD_VALID, UploadPorts, upload_create
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import Service

MAX = 25 * 1024 * 1024


def ports(service: Service) -> UploadPorts:
    """Return the ports of UploadCreate."""
    return UploadPorts(service.blobs, service.clock, service.dice, MAX)


def upload(service: Service, data: bytes, account: str = ACCOUNT, **changes: Any) -> str:
    """Upload a file and return its id."""
    created = upload_create(ports(service), account, UploadCreateRequest(size=len(data), **changes))
    service.blobs.upload(created.url, data)
    return created.upload_id


def files_of(raw: bytes) -> list[tuple[str | None, str, bytes]]:
    """Return name, type and content of the files of a message."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return [(part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()]


def test_files_in_the_request_are_decoded() -> None:
    """What arrives is what was given."""
    service = Service()
    data = bytes(range(256))

    result = service.send(attached_files=(File(name="a.bin", data=base64.b64encode(data).decode()),))

    assert files_of(service.content(result)) == [("a.bin", "application/octet-stream", data)]


def test_an_uploaded_file_is_sent() -> None:
    """By its id."""
    service = Service()
    upload_id = upload(service, b"%PDF-1.7 and so on")

    result = service.send(attached_files=(File(name="bill.pdf", upload_id=upload_id),))

    assert files_of(service.content(result)) == [("bill.pdf", "application/pdf", b"%PDF-1.7 and so on")]


def test_name_and_type_of_the_upload_are_taken() -> None:
    """Unless Send says otherwise."""
    service = Service()
    upload_id = upload(service, b"1;2", name="Umsätze.csv", content_type="text/csv")

    named = service.content(service.send(attached_files=(File(upload_id=upload_id),)))
    renamed = service.content(
        service.send(attached_files=(File(name="x.bin", content_type="application/x-y", upload_id=upload_id),))
    )

    assert [found[:2] for found in files_of(named)] == [("Umsätze.csv", "text/csv")]
    assert [found[:2] for found in files_of(renamed)] == [("x.bin", "application/x-y")]


def test_an_upload_has_an_end() -> None:
    """The URL is good for an hour."""
    created = upload_create(ports(Service()), ACCOUNT, UploadCreateRequest(size=1))

    assert created.expires == NOW + UPLOAD_VALID


@pytest.mark.parametrize(
    "changes",
    [{"size": 0}, {"size": -1}, {"size": MAX + 1}, {"size": 1, "name": "a\n"}, {"size": 1, "content_type": "x" * 256}],
)
def test_an_upload_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Before a URL is made."""
    with pytest.raises(InvalidRequest) as caught:
        upload_create(ports(Service()), ACCOUNT, UploadCreateRequest(**changes))

    assert caught.value.code == ErrorCode.USER


def refused(service: Service, upload_id: str) -> str:
    """Send with an upload, be refused, return the code."""
    with pytest.raises(InvalidRequest) as caught:
        service.send(attached_files=(File(upload_id=upload_id),))
    assert service.stored_count == 0
    return caught.value.code


def test_an_upload_that_was_not_put_is_not_found() -> None:
    """Also one that nobody created."""
    service = Service()
    created = upload_create(ports(service), ACCOUNT, UploadCreateRequest(size=1))

    assert refused(service, created.upload_id) == ErrorCode.UPLOAD_NOT_FOUND
    assert refused(service, "a" * 24 + ".") == ErrorCode.UPLOAD_NOT_FOUND


@pytest.mark.parametrize("upload_id", ["x", "../" * 8 + ".", "a" * 24 + ".!", "a" * 24 + ".AAAA", "a" * 24 + "\n."])
def test_a_forged_upload_id_is_not_found(upload_id: str) -> None:
    """It leads nowhere outside the account's uploads."""
    assert refused(Service(), upload_id) == ErrorCode.UPLOAD_NOT_FOUND


def test_anothers_upload_is_not_found() -> None:
    """Even with its id."""
    service = Service()

    assert refused(service, upload(service, b"secret", OTHER_ACCOUNT)) == ErrorCode.UPLOAD_NOT_FOUND


def test_uploads_that_are_too_large_together_are_refused_unread() -> None:
    """Nothing is loaded that could not be sent."""
    service = Service(installation=Installation("mail.egret.example", max_message_bytes=100_000))
    first, second = upload(service, b"a" * 60_000), upload(service, b"b" * 60_000)

    with pytest.raises(InvalidRequest) as caught:
        service.send(attached_files=(File(upload_id=first), File(upload_id=second)))

    assert caught.value.code == ErrorCode.MESSAGE_TOO_LARGE
