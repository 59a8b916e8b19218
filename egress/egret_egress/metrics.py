"""What the egress counts. Names and labels are an interface: dashboards and alarms are built on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egret.contracts.metrics import Counter, Gauge, Histogram, Labels

ATTEMPTS: Final = Counter(
    "egret_attempts",
    "Attempts that ended. result: delivered, deferred, bounced, unknown. transport: name, or direct. tls: the policy.",
    ("result", "transport", "tls"),
)
ATTEMPT_SECONDS: Final = Histogram(
    "egret_attempt_duration_seconds",
    "How long attempts took. attempt: 1 to 7, or 8+. result: as above.",
    ("attempt", "result"),
)
RELEASES: Final = Counter("egret_releases", "Attempts given back unmade. why: the kind of reason.", ("why",))
SESSIONS: Final = Counter(
    "egret_sessions",
    "Sessions that were to be opened. result: ok, or what failed: connect, greeting or login, tls.",
    ("result",),
)
TLS_POLICIES: Final = Counter(
    "egret_tls_policy_decisions",
    "What was decided for an MX host before connecting. policy: as tls above. outcome: use or skip.",
    ("policy", "outcome"),
)
PLAIN_FALLBACKS: Final = Counter(
    "egret_plaintext_fallbacks", "Second connections without TLS after opportunistic TLS had failed."
)
TLS_REQUIRED_NO: Final = Counter(
    "egret_tls_required_no_ignored",
    "Failures that were ignored because of TLS-Required: No. ignored: what.",
    ("ignored",),
)
REQUIRETLS_UNMET: Final = Counter(
    "egret_requiretls_unmet",
    "Hosts that could not be used for REQUIRETLS. reason: nopolicy or norequiretls.",
    ("reason",),
)
DNS_SECONDS: Final = Histogram(
    "egret_dns_seconds",
    "How long the DNS took for what was not in the cache. result: answer, nxdomain, timeout, failure.",
    ("result",),
)
SMARTHOST_REFUSALS: Final = Counter(
    "egret_smarthost_refusals",
    "Refusals for good by which a smarthost did not let us send, so that mail waits. at: greeting or mail.",
    ("at",),
)
HANDOFFS: Final = Counter(
    "egret_handoff_transactions", "Transactions handed over. answer: taken, refused.", ("answer",)
)
INBOUND: Final = Counter("egret_inbound_messages", "Incoming mail. answer: the reply's code to DATA.", ("answer",))
SUBMISSIONS: Final = Counter(
    "egret_submitted_messages", "Mail that accounts submitted by SMTP. answer: the reply's code to DATA.", ("answer",)
)

CONNECTIONS: Final = Gauge("egret_connections_open", "Open connections to MX hosts, idle ones included.")
ROOM: Final = Gauge("egret_handoff_room", "Deliveries that would be taken now.")
IN_HAND: Final = Gauge("egret_in_hand", "Deliveries taken and not recorded yet.")
BACKLOG: Final = Gauge("egret_backlog_transactions", "Transactions that wait for a worker.")
BACKLOG_AGE: Final = Gauge("egret_backlog_oldest_seconds", "How long the oldest of them has waited.")
RECORDING: Final = Gauge("egret_recording_open", "Outcomes and releases that are not in the table yet.")
JOURNAL_FAILING: Final = Gauge("egret_journal_failing", "1 while the journal cannot be written.")
PORT25: Final = Gauge(
    "egret_port25_open", "1 when outbound port 25 is open, as the last probe saw it; absent when nobody asks."
)
RESOLVER: Final = Gauge("egret_resolver_up", "1 when the resolver answers, as the last two probes saw it.")
SHAPING_RATE: Final = Gauge("egret_shaping_messages_per_second", "Rate allowed now.", ("provider", "source"))
SHAPING_CONNECTIONS: Final = Gauge("egret_shaping_connections", "Connections allowed now.", ("provider", "source"))
SHAPING_SUSPENDED: Final = Gauge(
    "egret_shaping_suspended_seconds",
    "How long a provider is suspended yet; absent when it is not.",
    ("provider", "source"),
)

_TLS_WORDS: Final = {
    "": "none",
    "plain": "plain",
    "opportunistic": "opportunistic",
    "provider": "provider",
    "mta-sts": "mta-sts",
    "mta-sts, testing": "mta-sts-testing",
    "dane": "dane",
    "dane, no usable record": "dane-unusable",
    "tls-required: no": "tls-required-no",
    "smarthost": "smarthost",
    "smarthost, unverified": "smarthost-unverified",
    "smarthost, plain": "smarthost-plain",
}
OTHER: Final = "other"


def tls_word(policy: str) -> str:
    """Return the word by which the name of a TLS policy is counted; names are for people, and may be worded anew."""
    return _TLS_WORDS.get(policy, OTHER)


def _singles(*values: str) -> tuple[Labels, ...]:
    return tuple((value,) for value in values)


_RESULTS = ("delivered", "deferred", "bounced", "unknown")
_DECIDED = tuple(word for word in _TLS_WORDS.values() if word not in ("none", "plain"))
FROM_THE_START: Final[Mapping[Counter | Histogram, tuple[Labels, ...]]] = {
    ATTEMPTS: tuple((result, "direct", word) for result in _RESULTS for word in _TLS_WORDS.values()),
    RELEASES: _singles(
        "NotNow", "TooLate", "NoTurn", "Unavailable", "JournalFailing", "Stopped", "Draining", "Restarted"
    ),
    SESSIONS: _singles("ok", "connect", "greeting", "tls"),
    TLS_POLICIES: tuple((word, outcome) for word in _DECIDED for outcome in ("use", "skip")),
    PLAIN_FALLBACKS: ((),),
    TLS_REQUIRED_NO: _singles("badtls", "badtlsa", "mtastsmx", "mtastspolicy"),
    REQUIRETLS_UNMET: _singles("nopolicy", "norequiretls"),
    DNS_SECONDS: _singles("answer", "nxdomain", "timeout", "failure"),
    HANDOFFS: _singles("taken", "refused"),
    SMARTHOST_REFUSALS: _singles("greeting", "mail"),
    INBOUND: _singles("250", "451", "452", "550", "552", "554"),
    SUBMISSIONS: _singles("250", "451", "452", "550", "552", "553", "554"),
}
"""Label sets that are there with 0 before the first one is counted, which a rate could not see else."""
