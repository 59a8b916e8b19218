"""DKIM keys ready to sign with, kept for the life of a process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from egret.contracts.ports import KeyWrapper
from egret.contracts.settings import SendingDomain, StoredDkimKey
from egret.core.address import Address
from egret.core.dkim import DkimKey, DkimKeyError, sign
from egret.core.errors import ContractError, InvalidRequest

log = logging.getLogger(__name__)


class SigningKeys:
    """Unwraps and parses each private key once: both cost more than signing.

    Safe to share between threads; at worst a key is parsed twice. A key that was replaced is another key.
    """

    def __init__(self, wrapper: KeyWrapper) -> None:
        self._wrapper = wrapper
        self._parsed: dict[tuple[str, str, bytes], DkimKey] = {}

    def of(self, domain: SendingDomain) -> Sequence[DkimKey]:
        """Return a domain's keys in the order they sign. Raises InvalidRequest `server` when one cannot be used."""
        return [self._key(domain.domain, stored) for stored in domain.dkim_keys]

    def sign(self, domain: SendingDomain, message: tuple[bytes, bytes], identity: Address, at: datetime) -> bytes:
        """Return the DKIM-Signature fields of (headers, body), b"" for a domain without keys. Errors as of `of`."""
        keys = self.of(domain)
        return sign(*message, keys, signed_at=at, identity=identity) if keys else b""

    def _key(self, domain: str, stored: StoredDkimKey) -> DkimKey:
        name = (domain, stored.selector, stored.wrapped)
        known = self._parsed.get(name)
        if known is None:
            known = self._parsed[name] = self._load(domain, stored)
        return known

    def _load(self, domain: str, stored: StoredDkimKey) -> DkimKey:
        try:
            return DkimKey.from_pkcs8(domain, stored.selector, self._wrapper.unwrap(stored.wrapped, domain))
        except (ContractError, DkimKeyError) as error:
            log.exception("DKIM key cannot be used", extra={"domain": domain, "selector": stored.selector})
            raise InvalidRequest("server", f"The DKIM key {stored.selector} of {domain} cannot be used.") from error
