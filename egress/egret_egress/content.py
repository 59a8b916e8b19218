"""The message of a transaction as it goes over the wire: made once, shared by all transactions that carry it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from egret_egress.wire import DotStuffer, stuffed, with_crlf

CHUNK_BYTES = 64 * 1024


class Content:
    """A message ready to be sent.

    raw: the message, CRLF line ends expected; bare CR and LF are made CRLF, since a line end that servers read
    differently could smuggle in a second message. size_bytes: without the doubled dots, as SIZE counts (RFC 1870
    section 3). is_8bit: not only ASCII.
    """

    def __init__(self, raw: bytes) -> None:
        self._content = with_crlf(raw)
        self._small = (stuffed(self._content),) if len(self._content) <= CHUNK_BYTES else None
        self.is_8bit = not self._content.isascii()
        self.size_bytes = len(self._content)

    def chunks(self) -> Iterable[bytes]:
        """Give the dot-stuffed content in pieces; a large message is stuffed piece by piece for each sending."""
        return self._small if self._small is not None else self._stuff()

    def _stuff(self) -> Iterator[bytes]:
        stuffer = DotStuffer()
        for start in range(0, len(self._content), CHUNK_BYTES):
            yield stuffer.feed(self._content[start : start + CHUNK_BYTES])
