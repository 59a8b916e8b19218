"""The client's end of an SMTP connection, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


class Wire:
    """A client's end: sends bytes, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        """Return a whole reply, its lines joined by LF; "" at the end of the connection."""
        lines = []
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            lines.append(line)
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    async def say(self, text: str | bytes) -> str:
        """Send a line, return the reply."""
        self.writer.write((text.encode() if isinstance(text, str) else text) + b"\r\n")
        return await self.reply()

    async def codes(self, *lines: str | bytes) -> list[str]:
        """Send lines one after the other, return the codes of the replies."""
        return [(await self.say(line))[:3] for line in lines]

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Make the handshake."""
        await self.writer.start_tls(context, server_hostname="127.0.0.1")
        # asyncio forgot the reader before 3.12.
        self.reader._transport = self.writer.transport  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def dialling(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Connect to a port of this machine, and hang up at the end. tls: from the first byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
