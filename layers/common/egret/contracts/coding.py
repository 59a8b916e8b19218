"""Decode what another part sent, with one kind of error."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

T_co = TypeVar("T_co", covariant=True)


class Decoder(Protocol[T_co]):
    """A decoder of msgspec, JSON or MessagePack."""

    def decode(self, body: bytes, /) -> T_co:
        """Return the value."""
        ...


def decoded(decoder: Decoder[T_co], body: bytes | str) -> T_co:
    """Return the value; raises msgspec.DecodeError or msgspec.ValidationError, nothing else, on anything else."""
    try:
        return decoder.decode(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)
    except UnicodeDecodeError as error:  # the one error of the decoders that is not their own
        raise msgspec.DecodeError("text that is not UTF-8") from error
