"""Settings in memory, and a key wrapper that keeps its key itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from egret.contracts.settings import Account, ApiKey, HoldRule, SendingDomain, Transport
from egret.core.errors import Conflict, ContractError
from egret.core.routing import Route

TOUCH_EVERY = timedelta(hours=1)
NONCE_BYTES = 12
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class MemorySettings:
    """The ports `SettingsReader` and `SettingsWriter`; a change is seen at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._accounts: dict[str, Account] = {}
        self._keys: dict[str, ApiKey] = {}
        self._domains: dict[str, SendingDomain] = {}
        self._rules: dict[str, HoldRule] = {}
        self._routes: dict[str, Route] = {}
        self._transports: dict[str, Transport] = {}

    # --- accounts

    def account(self, account_id: str) -> Account | None:
        """Return an account by id."""
        return self._accounts.get(account_id)

    def account_of_address(self, address: str) -> Account | None:
        """Return the account of a login address (canonical form)."""
        return next((account for account in self.accounts() if address in account.addresses), None)

    def account_by_name(self, name: str) -> Account | None:
        """Return an account by its name."""
        return next((account for account in self.accounts() if account.name == name), None)

    def accounts(self) -> list[Account]:
        """Return all, by name."""
        with self._lock:
            return sorted(self._accounts.values(), key=lambda account: account.name)

    def put_account(self, account: Account) -> None:
        """Create or replace an account; its name and addresses must be free or its own, else Conflict."""
        with self._lock:
            others = [known for known in self._accounts.values() if known.id != account.id]
            if any(known.name == account.name for known in others):
                raise Conflict("Another account has that name.")
            if any(set(known.addresses) & set(account.addresses) for known in others):
                raise Conflict("Another account has one of these addresses.")
            self._accounts[account.id] = account

    # --- keys

    def key(self, key_hash: str) -> ApiKey | None:
        """Return an API key by the SHA-256 hex of its text."""
        return self._keys.get(key_hash)

    def keys(self, account_id: str) -> list[ApiKey]:
        """Return an account's keys, oldest first."""
        with self._lock:
            own = [key for key in self._keys.values() if key.account == account_id]
        return sorted(own, key=lambda key: (key.created_at or _LONG_AGO, key.hash))

    def put_key(self, key: ApiKey) -> None:
        """Add or replace a key."""
        with self._lock:
            self._keys[key.hash] = key

    def remove_key(self, key_hash: str) -> bool:
        """Revoke; False when absent."""
        with self._lock:
            return self._keys.pop(key_hash, None) is not None

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        """Note that the key was used, at most one write an hour; a revoked key stays revoked."""
        with self._lock:
            known = self._keys.get(key.hash)
            if known is None or (known.last_used_at is not None and at - known.last_used_at < TOUCH_EVERY):
                return
            self._keys[key.hash] = replace(known, last_used_at=at)

    # --- domains

    def domain(self, domain: str) -> SendingDomain | None:
        """Return a sending domain by A-label."""
        return self._domains.get(domain)

    def domain_of_return_path(self, domain: str) -> SendingDomain | None:
        """Return the sending domain that uses this return-path domain."""
        with self._lock:
            return next(
                (known for known in self._domains.values() if domain and known.return_path_domain == domain), None
            )

    def domains(self, account_id: str) -> list[SendingDomain]:
        """Return an account's domains by name."""
        with self._lock:
            own = [domain for domain in self._domains.values() if domain.account == account_id]
        return sorted(own, key=lambda domain: domain.domain)

    def put_domain(self, domain: SendingDomain) -> None:
        """Create or replace; Conflict when the domain is another account's or the return-path domain is in use."""
        with self._lock:
            known = self._domains.get(domain.domain)
            if known is not None and known.account != domain.account:
                raise Conflict("Another account has that domain.")
            user = self.domain_of_return_path(domain.return_path_domain)
            if user is not None and user.domain != domain.domain:
                raise Conflict("Another domain has that return-path domain.")
            self._domains[domain.domain] = domain

    def remove_domain(self, domain: str) -> bool:
        """Remove; False when absent."""
        with self._lock:
            return self._domains.pop(domain, None) is not None

    # --- hold rules

    def hold_rules(self) -> Sequence[HoldRule]:
        """Return every hold rule."""
        with self._lock:
            return tuple(self._rules.values())

    def put_hold_rule(self, rule: HoldRule) -> None:
        """Add a rule."""
        with self._lock:
            self._rules[rule.id] = rule

    def remove_hold_rule(self, rule_id: str) -> bool:
        """Remove; False when absent."""
        with self._lock:
            return self._rules.pop(rule_id, None) is not None

    # --- routes and transports

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        with self._lock:
            return tuple(self._routes.values())

    def put_route(self, route: Route) -> None:
        """Add or replace a route."""
        with self._lock:
            self._routes[route.id] = route

    def remove_route(self, route_id: str) -> bool:
        """Remove; False when absent."""
        with self._lock:
            return self._routes.pop(route_id, None) is not None

    def transports(self) -> Sequence[Transport]:
        """Return every transport, by name."""
        with self._lock:
            return tuple(sorted(self._transports.values(), key=lambda transport: transport.name))

    def put_transport(self, transport: Transport) -> None:
        """Add or replace a transport."""
        with self._lock:
            self._transports[transport.name] = transport

    def remove_transport(self, name: str) -> bool:
        """Remove; False when absent."""
        with self._lock:
            return self._transports.pop(name, None) is not None


class MemoryKeyWrapper:
    """The `KeyWrapper` port by AES-GCM (NIST SP 800-38D), the context authenticated. Its key has 16, 24 or 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def wrap(self, plain: bytes, context: str) -> bytes:
        """Return nonce (12 bytes), ciphertext and tag (16 bytes)."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, context.encode())

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Return the plaintext; raises ContractError when it is not ours or the context differs."""
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise ContractError(detail=f"a wrapped key of {context} cannot be opened") from error
