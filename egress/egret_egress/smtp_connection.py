"""One connection to an SMTP server of ours: lines and content come in, replies go out, TLS begins, time runs out.

Subclasses aiosmtpd's protocol for the life of a connection. What is said over it is `smtp_dialogue`'s. Content ends at
CRLF.CRLF and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP

from egret.core.authlimits import networks_of
from egret_egress.inbound_content import MAX_LINE_BYTES, ContentReader, Refused
from egret_egress.smtp_limits import Occupancy
from egret_egress.smtp_service import Service

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 1 << 24
"""More than a stream ever holds (twice its limit and one read), so that reading takes all of it."""
HANDSHAKE_S: Final = 30.0

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class BadLine:
    """What came instead of a line. reply: what the client hears; is_last: nothing behind it is to be read."""

    reply: str
    is_last: bool = False


class Connection(SMTP):
    """aiosmtpd's protocol without its dialogue, within the limits over all connections and for each peer.

    serve: the dialogue; the connection ends with it. peer: the client's IP address; networks: those around it,
    narrowest first. tls: protocol and cipher, "" = none. is_waiting: to be set while the client may say a command.
    """

    line_length_limit = MAX_LINE_BYTES

    def __init__(self, service: Service, occupancy: Occupancy, serve: Callable[[Connection], Awaitable[None]]) -> None:
        super().__init__(
            None, hostname=service.hostname, timeout=occupancy.limits.idle_s, loop=asyncio.get_running_loop()
        )
        self.peer = ""
        self.networks: Sequence[str] = ()
        self.tls = ""
        self.is_waiting = False
        self._is_implicit = service.is_implicit
        self._occupancy = occupancy
        self._limits = occupancy.limits
        self._serve = serve
        self._life: asyncio.TimerHandle | None = None
        self._is_counted = False

    # --- its life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Turn away whoever is too many."""
        peername = transport.get_extra_info("peername")
        self.peer = str(peername[0]) if peername else ""
        self.networks = networks_of(self.peer)
        # With TLS from the first byte that was asked, and the connection counted, when it was accepted.
        if not self._is_implicit and self._occupancy.is_full_for(self.networks):
            # uvloop's transports are no asyncio.WriteTransport by inheritance.
            cast("asyncio.WriteTransport", transport).write(b"421 4.3.2 Too many connections, try again later\r\n")
            transport.close()
            return
        self._is_counted = True
        self._occupancy.enter(self, self.networks)
        self._life = self.loop.call_later(self._limits.session_s, self.cut)
        super().connection_made(transport)
        if self._is_implicit:
            self.tls = _tls_of(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        if self._is_counted:
            self._forget()
            super().connection_lost(error)

    def _forget(self) -> None:
        """Make room for others; at the first call only."""
        if self._occupancy.leave(self, self.networks):
            for timer in (self._life, self._timeout_handle):
                if timer is not None:
                    timer.cancel()

    def eof_received(self) -> bool | None:
        """Close, too, when the client does: aiosmtpd gives the session up here, and may not have begun it yet."""
        if self._is_counted:
            super().eof_received()
        return False

    def data_received(self, data: bytes) -> None:
        """Leave alone what was turned away."""
        if self._is_counted:
            super().data_received(data)

    async def _handle_client(self) -> None:
        try:
            await self._serve(self)
        except ConnectionError:
            log.info("a client was lost", extra={"peer": self.peer})
        finally:
            self._writer.close()

    def end(self) -> None:
        """Close the connection because the server ends; who could say a command hears so (RFC 5321 section 3.8)."""
        if self.is_waiting and self.transport is not None:
            self._writer.write(b"421 4.3.2 The server ends, try again later\r\n")
        self.cut()

    def cut(self) -> None:
        """Close the connection, whatever is under way."""
        if self.transport is not None:
            self.transport.close()

    def _timeout_cb(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._writer.write(b"421 4.4.2 Nothing was heard for too long\r\n")
        self.cut()

    # --- for the dialogue

    @property
    def is_open(self) -> bool:
        """It has not ended."""
        return self.transport is not None

    def reset_timeout(self) -> None:
        """Let the time until the next command begin anew."""
        self._reset_timeout()

    async def line(self, limit_bytes: int) -> str | BadLine:
        """Return a line without its end. Raises IncompleteReadError at the end of the connection."""
        try:
            raw = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await self._skip_line(error)
            raw = b""
        if len(raw) > limit_bytes or not raw:
            return BadLine("500 5.5.2 The line is too long")
        if not raw.endswith(b"\r\n"):
            # What one server takes for the end of a line and the next does not, mail is smuggled by.
            return BadLine("500 5.5.2 Lines end in CRLF", is_last=True)
        try:
            line = raw[:-2].decode()
        except UnicodeDecodeError:
            return BadLine("500 5.5.2 Neither ASCII nor UTF-8")
        return BadLine("500 5.5.2 Control characters in a command") if _CONTROL.search(line) else line

    async def _skip_line(self, overrun: asyncio.LimitOverrunError) -> None:
        while True:
            await self._reader.read(overrun.consumed)
            try:
                await self._reader.readuntil(b"\n")
                return
            except asyncio.LimitOverrunError as error:
                overrun = error

    async def content(self, reader: ContentReader) -> bytes | Refused:
        """Read to the end of a content, each step of which has to come in time. Raises ConnectionError.

        aiosmtpd's own way needs a hundred times the memory of short lines.
        """
        rest, received, next_step = None, 0, 0
        while rest is None:
            if received >= next_step:
                next_step = received + self._limits.step_bytes
                self._reset_timeout(self._limits.step_s)
            chunk = await self._reader.read(CHUNK_BYTES)
            if not chunk:  # a connection that ends cancels this; should it not, nobody hears the reply
                raise ConnectionError("the connection ended within the content")
            received += len(chunk)
            rest = reader.feed(chunk)
        self._reset_timeout()
        if rest:
            # The chunk was all there was: what is put back stands before everything that comes.
            self._reader.feed_data(rest)
        return reader.take()

    async def start_tls(self, context: ssl.SSLContext) -> bool:
        """Let the client begin TLS (RFC 3207 section 4); False when the handshake failed, which ends the connection."""
        transport: Any = self.transport
        # Nothing may come between: what is in the buffer when the reply goes out was said in the clear.
        transport.pause_reading()
        self._reader._buffer.clear()  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer.write(b"220 2.0.0 Go ahead\r\n")
        try:
            secured: Any = await self.loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ssl.SSLError) as error:
            tell_of_handshake(self.peer, error)
            self._forget()
            return False
        self.transport = self._transport = secured
        self._over_ssl = True
        # asyncio has no public way to give a stream its new transport.
        self._reader._transport = secured  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer._transport = secured  # type: ignore[attr-defined]  # noqa: SLF001
        self.tls = _tls_of(secured)
        self._reset_timeout()
        return True


def tell_of_handshake(peer: str, error: OSError) -> None:
    """Log why there is no TLS. Who only looks whether somebody listens ends the connection without any error."""
    if text := str(error):
        log.info("the TLS handshake failed", extra={"peer": peer, "error": text})
    else:
        log.info("a connection ended before TLS was there", extra={"peer": peer})


def _tls_of(transport: asyncio.BaseTransport) -> str:
    """Return protocol and cipher."""
    session: Any = transport.get_extra_info("ssl_object")
    return f"{session.version()} {session.cipher()[0]}"
