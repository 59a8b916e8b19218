"""One TCP connection to an SMTP server as awaitable replies: the asyncio shell around `wire.ReplyReader`.

Speaks no SMTP by itself; `session` does. Trouble of every kind is one exception, `ConnectionFailed`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from egret.core.reply import Reply
from egret_egress.burst import Burst
from egret_egress.wire import Event, Garbage, ReplyReader

FEW_UNREAD = 16
"""Replies that may lie unread without a further look: what a transaction with few recipients asks for at once."""
MAX_UNREAD = 200
"""Replies that may lie unread: about twice as many as may be asked for at once, so only a server that babbles gets
there."""
MAX_UNREAD_BYTES = 256 * 1024
"""Bytes of replies that may come while more than a few lie unread."""


class ConnectionFailed(Exception):
    """The connection cannot be used any more. reason: a sentence for the delivery's record; error: what was raised."""

    def __init__(self, reason: str, error: Exception | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Connection(asyncio.Protocol):
    """A connection that gives replies one by one.

    burst: what is written goes out with what others write in this turn of the loop; what has not gone when the
    connection ends never goes. on_lost: set while nobody uses the connection, which the first byte that the server
    sends then ends; called once when it has ended, for whatever cause.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, burst: Burst) -> None:
        self._loop = loop
        self._burst = burst
        self._unsent = b""
        self._reader = ReplyReader()
        self._events: deque[Event] = deque()
        self._piled_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._lost = ""
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._late_reason = ""
        self._late_after_s = 0.0
        self.on_lost: Callable[[], None] | None = None

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, or now has TLS."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.on_lost is not None:
            self._end("the server spoke without being asked")
            return
        events = self._reader.feed(data)
        self._events.extend(events)
        if len(self._events) > FEW_UNREAD:
            self._pile_up(len(events), len(data))
        if self._events:
            self._wake()
            self._let_writer_go()  # an answer while we still write: it may be why nobody reads

    def _pile_up(self, count: int, size_bytes: int) -> None:
        """Bound what lies unread. count, size_bytes: of what has just come."""
        if len(self._events) - count <= FEW_UNREAD:
            self._piled_bytes = 0  # it was read in between
        self._piled_bytes += size_bytes
        if len(self._events) > MAX_UNREAD or self._piled_bytes > MAX_UNREAD_BYTES:
            self._end("the server sent more replies than there were commands")

    def eof_received(self) -> bool:
        """The server will send nothing more."""
        self._end("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._end(f"the connection was lost ({words_of(exc)})" if exc else "the server closed the connection")
        if not self._closed.done():
            self._closed.set_result(None)
        if self._timer:
            self._timer.cancel()
        if self.on_lost:
            self.on_lost()

    def pause_writing(self) -> None:
        """The server reads slower than we write."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """The server has caught up."""
        self._let_writer_go()
        self._drained = None

    def _let_writer_go(self) -> None:
        if self._drained and not self._drained.done():
            self._drained.set_result(None)

    # --- for the session

    @property
    def is_open(self) -> bool:
        """Nothing has ended it."""
        return not self._lost

    @property
    def has_unread(self) -> bool:
        """The server said something that was not asked for (yet)."""
        return bool(self._events) or not self._reader.is_clean

    @property
    def has_unsent(self) -> bool:
        """What was written last has not gone; once the connection has ended it never will."""
        return bool(self._unsent)

    def is_quiet(self) -> bool:
        """Open, and nothing was said: the conversation is where we think it is."""
        return self.is_open and not self.has_unread

    def write(self, data: bytes) -> None:
        """Send soon; raises ConnectionFailed when the connection has ended and nothing is left to read."""
        if self._transport is None or (self._lost and not self._events):
            raise ConnectionFailed(self._lost or "the connection is not open")
        if not self._lost:
            if not self._unsent:
                self._burst.add(self)
            self._unsent += data

    def flush(self) -> None:
        """Send what was written, now."""
        if self._unsent and self._transport is not None and not self._lost:
            data, self._unsent = self._unsent, b""
            try:
                self._transport.write(data)
            except Exception as error:  # noqa: BLE001 (others are to be flushed after this one)
                self._end(f"the connection was lost ({words_of(error)})")

    async def drain(self, timeout_s: float) -> None:
        """Send, and wait until more may be written, or the server says something; others have a turn in any case."""
        self.flush()
        if self._drained is None:
            await asyncio.sleep(0)
        elif not self._lost:
            deadline = self._loop.time() + timeout_s
            self._be_there_by(deadline, "the server did not read the message in time")
            try:
                await self._drained
            finally:
                self._deadline = 0.0

    def next_reply(self) -> Reply | None:
        """Return the next reply if it has come; raises ConnectionFailed when what came is none."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, Garbage):
            self._end(event.reason)
            raise ConnectionFailed(event.reason)
        return event

    async def reply(self, timeout_s: float) -> Reply:
        """Return the next reply, complete within `timeout_s`; raises ConnectionFailed."""
        deadline = self._loop.time() + timeout_s
        while (reply := self.next_reply()) is None:
            if self._lost:
                raise ConnectionFailed(self._lost)
            self._waiter = waiter = self._loop.create_future()
            self._late_after_s = timeout_s
            self._be_there_by(deadline, "")
            try:
                await waiter
            finally:
                self._deadline = 0.0
        return reply

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, timeout_s: float) -> None:
        """Go on with TLS; raises ConnectionFailed. What was read before is forgotten (RFC 3207 section 4.2)."""
        if self._transport is None or self._lost or self.has_unread:
            # Bytes behind the 220 are from whoever could write into the plain connection: a STARTTLS injection.
            self._end("the server sent more than its answer to STARTTLS")
            raise ConnectionFailed(self._lost)
        try:
            transport = await self._loop.start_tls(
                self._transport, self, context, server_hostname=server_hostname, ssl_handshake_timeout=timeout_s
            )
        except (OSError, ssl.SSLError, TimeoutError, ValueError) as error:  # ValueError: a name that is none for SNI
            reason = f"TLS could not be agreed on ({words_of(error)})"
            self._end(reason)
            # asyncio does not tell the protocol of a connection that ends within the handshake.
            self.connection_lost(None)
            raise ConnectionFailed(reason, error) from error
        if transport is None:
            self._end("the connection was lost during the TLS handshake")
            raise ConnectionFailed(self._lost)
        self._transport = transport

    def tls_version(self) -> str:
        """Return "TLSv1.3" and the like, "" without TLS."""
        encryption = self.ssl_object()
        return str(encryption.version()) if encryption else ""

    def ssl_object(self) -> ssl.SSLObject | None:
        """Return what knows the peer's certificates, None without TLS."""
        return self._transport.get_extra_info("ssl_object") if self._transport else None

    def close(self) -> None:
        """End it at once."""
        self._end("the connection was closed")

    async def closed(self) -> None:
        """Wait until the socket is gone."""
        if self._transport is not None:
            await asyncio.shield(self._closed)

    # --- inside

    def _end(self, reason: str) -> None:
        if not self._lost:
            self._lost = reason
            if self._transport is not None:
                self._transport.abort()
        self.resume_writing()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _be_there_by(self, deadline: float, reason: str) -> None:
        """End it at the deadline; one timer per connection is pushed ahead instead of one made for every wait."""
        self._deadline = deadline
        self._late_reason = reason
        if self._timer is None or self._timer.cancelled() or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._deadline or self._lost:
            return
        if self._loop.time() >= self._deadline:
            self._end(self._late_reason or f"the server did not answer within {self._late_after_s:.0f} s")
        else:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)


def words_of(error: Exception) -> str:
    """Return what went wrong in the words of the system, without addresses of objects."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_message:
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
