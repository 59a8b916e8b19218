"""The way from deliver to an egress unit: HTTP/1.1 within the private network, connections kept."""

from __future__ import annotations

import http.client
import select
import threading
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import msgspec

from egret.contracts.handoff import CONTENT_TYPE, PATH, Handoff, HandoffAnswer, decode_answer, encode
from egret.contracts.records import HandoffRefused, Unit
from egret.core.errors import Unavailable

CONNECT_TIMEOUT = timedelta(seconds=2)
ANSWER_TIMEOUT = timedelta(seconds=10)
"""A unit only notes what it takes; it does not wait for SMTP."""
NOTHING_TAKEN = frozenset({400, 401, 403, 404, 409, 413, 415, 503})
"""Answers that a unit gives before it takes anything: another unit's, draining, or a request it cannot read."""
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HandoffTimeouts:
    """How long to wait: for the connection, then for each part of the answer."""

    connect: timedelta = CONNECT_TIMEOUT
    answer: timedelta = ANSWER_TIMEOUT


class HttpEgress:
    """The `Egress` port. secret: shared with every unit. Safe for threads; each keeps a connection to each unit."""

    def __init__(self, secret: str, timeouts: HandoffTimeouts | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": CONTENT_TYPE}
        self._timeouts = timeouts or HandoffTimeouts()
        self._kept = threading.local()

    def hand(self, unit: Unit, handoff: Handoff) -> HandoffAnswer:
        """Hand over; raises `HandoffRefused` when nothing was taken, `Unavailable` when nobody knows."""
        connection = self._connection(unit)
        try:
            status, body = self._exchange(connection, encode(handoff))
        except (OSError, http.client.HTTPException) as error:
            self._forget(unit)
            raise Unavailable(detail=f"unit {unit.id}: {type(error).__name__}: {error}") from error
        if status in NOTHING_TAKEN:
            raise HandoffRefused(f"unit {unit.id} answered {status}: {body[:200].decode('ascii', 'replace')}")
        if status != 202:
            raise Unavailable(detail=f"unit {unit.id} answered {status}")
        return _decoded(unit, handoff, body)

    def close(self) -> None:
        """Close this thread's connections."""
        for connection in self._connections().values():
            connection.close()
        self._connections().clear()

    def _connections(self) -> dict[str, http.client.HTTPConnection]:
        """Return this thread's connections by the URL of the unit."""
        kept: dict[str, http.client.HTTPConnection] = self._kept.__dict__
        return kept

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        connection.request("POST", PATH, body, self._headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES)

    def _connection(self, unit: Unit) -> http.client.HTTPConnection:
        """Return an open connection; nothing was sent when this fails, so the unit took nothing."""
        kept = self._connections()
        connection = kept.get(unit.url)
        if connection is not None and not _was_closed(connection):
            return connection
        self._forget(unit)
        try:
            kept[unit.url] = connection = self._open(unit.url)
        except (OSError, ValueError) as error:
            raise HandoffRefused(f"no connection to unit {unit.id}: {error}") from error
        return connection

    def _open(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not the URL of a unit: {url}")
        connection = http.client.HTTPConnection(
            parts.hostname, parts.port, timeout=self._timeouts.connect.total_seconds()
        )
        connection.connect()
        connection.sock.settimeout(self._timeouts.answer.total_seconds())
        return connection

    def _forget(self, unit: Unit) -> None:
        connection = self._connections().pop(unit.url, None)
        if connection is not None:
            connection.close()


def _was_closed(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the unit closed an idle connection: then it can be read, which gives the end of the stream.

    A function may have slept for minutes since the last handoff, and what is written into a closed connection
    leaves open whether the unit has seen it.
    """
    if connection.sock is None:
        return True
    readable, _, _ = select.select([connection.sock], [], [], 0)
    return bool(readable)


def _decoded(unit: Unit, handoff: Handoff, body: bytes) -> HandoffAnswer:
    try:
        answer = decode_answer(body)
    except msgspec.MsgspecError as error:
        raise Unavailable(detail=f"unit {unit.id}: an answer that cannot be read: {error}") from error
    if len(answer.taken) != len(handoff.transactions):
        raise Unavailable(detail=f"unit {unit.id}: {len(answer.taken)} answers to {len(handoff.transactions)}")
    return answer
