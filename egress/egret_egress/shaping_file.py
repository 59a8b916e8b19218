"""Reads `shaping.toml`: the packaged table, and above it a file of the operator's own.

Everything is checked here, so that the rest may trust it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from egret.core.tls_policy import TlsKind
from egret_egress.shaping import SLOW_DOWN, Action, Limits, Row, Rule, Scope, Shaping, Warmup

VERSION = 1
PACKAGED = "shaping.toml"
LONGEST_S = 365 * 86_400.0
"""What lasts longer is no date any more, sooner or later."""

Table = Mapping[str, Any]


class ShapingError(ValueError):
    """A shaping file cannot be used; the message is one sentence that names file and key."""


def load(own: str = "", name: str = "the shaping file") -> Shaping:
    """Return the packaged table with the text of the operator's file above it. name: of that file, for errors.

    Raises ShapingError.
    """
    text = resources.files(__package__).joinpath(PACKAGED).read_text("utf-8")
    packaged = _parse(text, PACKAGED)
    if not own:
        return _Reader(PACKAGED).shaping(packaged)
    _Reader(PACKAGED).shaping(packaged)
    mine = _parse(own, name)
    _Reader(name).check(mine)
    return _Reader(name).shaping(_above(mine, packaged))


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ShapingError(f"{name} is not valid TOML: {error}") from error


def _above(mine: Table, packaged: Table) -> dict[str, Any]:
    """Lay the operator's table over the packaged one, key by key; rules of the operator's come first."""
    providers = {key: dict(row) for key, row in packaged["provider"].items()}
    for key, row in mine.get("provider", {}).items():
        providers.setdefault(key, {}).update(row)
    return {
        "version": mine.get("version", VERSION),
        "lift_all": mine.get("lift_all", False),
        "separate": [*packaged["separate"], *mine.get("separate", [])],
        "default": {**packaged["default"], **mine.get("default", {})},
        "provider": providers,
        "rule": [*mine.get("rule", []), *packaged["rule"]],
    }


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|m|h|d)")
_ENHANCED = re.compile(r"[245](\.(\d{1,3}|\d{0,2}x{1,3})){2}")
_UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LIMITS = frozenset({
    "start_connections", "start_message_rate", "connections", "messages_per_connection", "connection_rate",
    "message_rate", "idle", "lifted",
})  # fmt: skip
_ROW = _LIMITS | {"title", "hosts", "tls", "warmup"}
_RULE = frozenset({
    "provider", "codes", "enhanced", "text", "action", "scope", "duration", "connections", "message_rate",
    "connection_rate", "messages_per_connection", "reason",
})  # fmt: skip
_TOP = frozenset({"version", "lift_all", "separate", "default", "provider", "rule"})
_TLS = {"required": TlsKind.ENCRYPTED, "verified": TlsKind.PKIX}


class _Reader:
    """Checks and converts. file: its name, for errors."""

    def __init__(self, file: str) -> None:
        self._file = file

    def _error(self, where: str, words: str) -> ShapingError:
        return ShapingError(f"{self._file}: {where} {words}")

    def check(self, table: Table) -> None:
        """See that a file has the right shape before it is laid over another."""
        self._only(table, _TOP, "the top")
        if table.get("version", VERSION) != VERSION:
            raise self._error("version", f"must be {VERSION}, not {table['version']!r}")
        self._tables(table)
        self._strings(table, "separate", "separate")

    def shaping(self, table: Table) -> Shaping:
        """Convert everything; raises ShapingError."""
        self.check(table)
        default = self._table(table.get("default", {}), "[default]")
        self._only(default, _LIMITS, "[default]")
        is_lifted = self._flag(table, "lift_all", "lift_all")
        base = self._limits(default, Limits(), "[default]")
        rows = tuple(self._row(name, row, base, is_lifted) for name, row in table.get("provider", {}).items())
        names = {row.name for row in rows}
        rules = tuple(self._rule(rule, index, names) for index, rule in enumerate(table.get("rule", []), 1))
        lifted = is_lifted or self._flag(default, "lifted", "[default] lifted")
        unknown = Row("", "", limits=None if lifted else base, idle_s=base.idle_s)
        return Shaping(rows, unknown, rules, frozenset(self._strings(table, "separate", "separate")))

    def _tables(self, table: Table) -> None:
        providers = self._table(table.get("provider", {}), "[provider]")
        for name, row in providers.items():
            self._table(row, f"[provider.{name}]")
        self._table(table.get("default", {}), "[default]")
        rules = table.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise self._error("rule", "must be written [[rule]]")

    def _row(self, name: str, row: Table, base: Limits, is_lifted: bool) -> Row:  # noqa: FBT001 (passed through)
        where = f"[provider.{name}]"
        self._only(row, _ROW, where)
        hosts = tuple(host.lower().strip(".") for host in self._strings(row, "hosts", f"{where} hosts"))
        if not hosts or not all(hosts):
            raise self._error(f"{where} hosts", "must name the provider's mail servers")
        # What is known of a provider is where learning begins, what is not is learned from the start.
        known = _with_starts(base, row)
        limits = self._limits(row, known, where)
        lifted = is_lifted or self._flag(row, "lifted", f"{where} lifted")
        tls = row.get("tls", "")
        if tls and tls not in _TLS:
            raise self._error(f"{where} tls", f'must be "required" or "verified", not {tls!r}')
        title = self._string(row, "title", where) or name
        warmup = None if lifted else self._warmup(row.get("warmup"), f"{where} warmup")
        return Row(name, title, hosts, None if lifted else limits, _TLS.get(tls), warmup, limits.idle_s)

    def _limits(self, row: Table, base: Limits, where: str) -> Limits:
        connections = self._count(row, "connections", base.connections, where)
        message_rate = self._rate(row, "message_rate", base.message_rate, where)
        start_connections = self._count(row, "start_connections", base.start_connections, where)
        start_rate = self._rate(row, "start_message_rate", base.start_message_rate, where)
        return Limits(
            connections=connections,
            messages_per_connection=self._count(row, "messages_per_connection", base.messages_per_connection, where),
            connection_rate=self._rate(row, "connection_rate", base.connection_rate, where),
            message_rate=message_rate,
            idle_s=self._duration(row, "idle", base.idle_s, where),
            start_connections=min(connections, start_connections),
            start_message_rate=min(message_rate, start_rate),
        )

    def _warmup(self, value: Any, where: str) -> Warmup | None:
        if value is None or value is False:
            return None
        table = self._table(value, where)
        self._only(table, frozenset({"first", "last", "days"}), where)
        first, last, days = (self._count(table, key, 0, where) for key in ("first", "last", "days"))
        if last < first:
            raise self._error(where, "must not shrink: last is less than first")
        return Warmup(first, last, days)

    def _rule(self, rule: Table, index: int, providers: set[str]) -> Rule:
        where = f"[[rule]] number {index}"
        self._only(rule, _RULE, where)
        action = self._choice(Action, rule.get("action", ""), f"{where} action")
        scope = self._choice(Scope, rule.get("scope", Scope.SOURCE), f"{where} scope")
        provider = self._string(rule, "provider", where)
        if provider and provider not in providers:
            raise self._error(f"{where} provider", f"names {provider!r}, of which there is no row")
        made = Rule(
            action=action,
            provider=provider,
            codes=self._codes(rule, where),
            enhanced=self._enhanced(rule, where),
            text=self._pattern(rule, where),
            scope=scope,
            duration_s=self._duration(rule, "duration", 0.0, where),
            connections=self._optional_count(rule, "connections", where),
            message_rate=self._rate(rule, "message_rate", 0.0, where) or None,
            connection_rate=self._rate(rule, "connection_rate", 0.0, where) or None,
            messages_per_connection=self._optional_count(rule, "messages_per_connection", where),
            reason=self._string(rule, "reason", where) or SLOW_DOWN,
        )
        self._agrees(made, where)
        return made

    def _agrees(self, rule: Rule, where: str) -> None:
        if not (rule.codes or rule.enhanced or rule.text):
            raise self._error(where, "must say which replies it is about: codes, enhanced or text")
        if (rule.action is Action.SUSPEND or not rule.is_learned) and not rule.duration_s:
            raise self._error(where, "must have a duration")
        if rule.scope is Scope.RECIPIENT and rule.action not in (Action.SUSPEND, Action.RESUME):
            raise self._error(where, "can only suspend or resume a recipient")

    # --- single values

    def _only(self, table: Table, known: frozenset[str], where: str) -> None:
        if unknown := sorted(set(table) - known):
            raise self._error(where, f"has a key that nobody knows: {unknown[0]}")

    def _table(self, value: Any, where: str) -> Table:
        if not isinstance(value, dict):
            raise self._error(where, "must be a table")
        return value

    def _string(self, table: Table, key: str, where: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            raise self._error(f"{where} {key}", f"must be text, not {value!r}")
        return value

    def _strings(self, table: Table, key: str, where: str) -> Sequence[str]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._error(where, "must be a list of texts")
        return value

    def _flag(self, table: Table, key: str, where: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self._error(where, f"must be true or false, not {value!r}")
        return value

    def _count(self, table: Table, key: str, default: int, where: str) -> int:
        value = table.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._error(f"{where} {key}", f"must be a whole number of at least 1, not {value!r}")
        return value

    def _optional_count(self, table: Table, key: str, where: str) -> int | None:
        return self._count(table, key, 0, where) if key in table else None

    def _rate(self, table: Table, key: str, default: float, where: str) -> float:
        if key not in table:
            return default
        match = _RATE.fullmatch(table[key]) if isinstance(table[key], str) else None
        if match is None or float(match[1]) <= 0:
            raise self._error(f"{where} {key}", f'must be like "100/min", not {table[key]!r}')
        return float(match[1]) / _UNITS[match[2]]

    def _duration(self, table: Table, key: str, default: float, where: str) -> float:
        if key not in table:
            return default
        match = _DURATION.fullmatch(table[key]) if isinstance(table[key], str) else None
        if match is None or float(match[1]) <= 0:
            raise self._error(f"{where} {key}", f'must be like "90m", not {table[key]!r}')
        seconds = float(match[1]) * _UNITS[match[2]]
        if seconds > LONGEST_S:
            raise self._error(f"{where} {key}", f"must be at most 365d, not {table[key]!r}")
        return seconds

    def _codes(self, rule: Table, where: str) -> frozenset[int]:
        codes = rule.get("codes", [])
        if not isinstance(codes, list) or not all(isinstance(code, int) and 200 <= code <= 599 for code in codes):
            raise self._error(f"{where} codes", "must be a list of numbers from 200 to 599")
        return frozenset(codes)

    def _enhanced(self, rule: Table, where: str) -> re.Pattern[str] | None:
        """Compile "4.7.5xx": an x is a digit, and an x alone any number."""
        patterns = []
        for text in self._strings(rule, "enhanced", f"{where} enhanced"):
            if not _ENHANCED.fullmatch(text):
                raise self._error(f"{where} enhanced", f'must be like "4.7.5xx", not {text!r}')
            parts = (r"\d{1,3}" if part == "x" else part.replace("x", r"\d") for part in text.split("."))
            patterns.append(r"\.".join(parts))
        return re.compile("|".join(patterns)) if patterns else None

    def _pattern(self, rule: Table, where: str) -> re.Pattern[str] | None:
        text = self._string(rule, "text", where)
        try:
            return re.compile(text, re.IGNORECASE) if text else None
        except re.error as error:
            raise self._error(f"{where} text", f"is not a regular expression: {error}") from error

    def _choice(self, kind: type[Any], value: Any, where: str) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            words = ", ".join(f'"{one}"' for one in kind)
            raise self._error(where, f"must be one of {words}, not {value!r}") from error


def _with_starts(base: Limits, row: Table) -> Limits:
    """Return the default limits for a provider of which some things are known: those need not be learned slowly."""
    return Limits(
        base.connections,
        base.messages_per_connection,
        base.connection_rate,
        base.message_rate,
        base.idle_s,
        start_connections=base.connections if "connections" not in row else 10**6,
        start_message_rate=base.message_rate if "message_rate" not in row else 10.0**9,
    )
