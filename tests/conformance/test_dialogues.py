"""SMTP dialogues from text files, one file one conversation, played to the real engine over loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from egret.core.outcome import Delivered, Outcome, name_of
from egret.core.tls_policy import TlsKind, TlsPolicy
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.opening import Dialing
from egret_egress.pool import Pool
from egret_egress.session import Credentials
from tests.certificates import Certificate
from tests.conformance import rfc_coverage
from tests.conformance.scripted import SHORT, Dialogue, NoDns, Notes, Row, courier_to, parcel, playing, read, unescape

FILES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))


NONCE = b"dialogue"
"""The random bytes of every login here."""


def courier_for(dialogue: Dialogue, port: int, pool: Pool, certificate: Certificate) -> Courier:
    """Return a courier to the dialogue's server: any server, or one that must prove its name and be logged in to."""
    if "tls" not in dialogue.settings:
        return courier_to(port, pool)
    user, _, password = dialogue.settings.get("login", "").partition(" ")
    credentials = Credentials(user, password) if user else None
    host = Host("127.0.0.1", port, TlsPolicy(TlsKind.PKIX, "smarthost"), credentials)
    dialing = Dialing("unit.example", SHORT, verified=certificate.trusting(), nonce=lambda: NONCE)
    return Courier(Fixed(host, NoDns()), pool, dialing)


async def converse(dialogue: Dialogue, certificate: Certificate) -> tuple[list[Notes], list[str]]:
    """Send the dialogue's messages; return what became of each and where the client left the script."""
    settings = dialogue.settings
    notes, pool = [Notes() for _ in range(int(settings.get("messages", "1")))], Pool()
    body = unescape(settings.get("body", r"Subject: x\r\n\r\nhello\r\n"))
    async with playing(dialogue, certificate.server()) as (server, port):
        row = Row(
            [
                parcel(
                    one,
                    dialogue.recipients,
                    body,
                    reverse_path=settings.get("from", "s@example.net"),
                    smtputf8=settings.get("smtputf8") == "yes",
                    require_tls=settings.get("require-tls") == "yes",
                    **{name: settings[name] for name in ("ret", "envid", "notify", "orcpt") if name in settings},
                )
                for one in notes
            ]
        )
        await row.bring(courier_for(dialogue, port, pool, certificate))
        await pool.close()
    left = [*server.mismatches, *(f"unexpected {rest!r}" for rest in server.unplayed)]
    if server.played < len(dialogue.connections):
        left.append(f"only {server.played} connections were made")
    return notes, left


def describe(outcome: Outcome) -> str:
    """Return outcome, code, enhanced code and reason as the files expect them."""
    reply = outcome.reply
    reason = "" if isinstance(outcome, Delivered) else outcome.reason
    return " ".join(
        filter(None, [name_of(outcome), str(reply.code) if reply else "", reply.enhanced_code if reply else "", reason])
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """What the servers of dialogues with TLS show."""
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_client_keeps_to_the_dialogue(path: Path, certificate: Certificate) -> None:
    """The client sends exactly what the file says, and each recipient gets the outcome that it expects."""
    dialogue = read(path)

    notes, left = asyncio.run(converse(dialogue, certificate))

    assert left == []
    expected = [text.strip() for text in dialogue.settings["expect"].split(";")]
    actual = [describe(one.outcomes[index]) for one in notes for index in range(len(dialogue.recipients))]
    assert expected == [text[: len(wanted)] for text, wanted in zip(actual, expected, strict=True)]
    if dialogue.settings.get("sent") == "no":
        assert [one.dots for one in notes if one.dots] == []


@pytest.mark.parametrize(
    ("stem", "takes_dsn"),
    [("dsn_parameters_where_dsn_is_offered", True), ("dsn_parameters_are_left_out_where_dsn_is_not_offered", False)],
)
def test_a_delivery_tells_whether_the_server_took_over_the_notifications(
    stem: str, certificate: Certificate, *, takes_dsn: bool
) -> None:
    """RFC 3461 section 5.2.2: where it did not, a success is ours to tell."""
    (path,) = [each for each in FILES if each.stem == stem]
    ((notes,), _) = asyncio.run(converse(read(path), certificate))

    assert {trace.takes_dsn for trace in notes.traces.values()} == {takes_dsn}


def test_every_dialogue_cites_its_rfc_on_the_page() -> None:
    """The first line of each file names the clause it holds the client to; docs/rfc-coverage.md has all of them."""
    assert FILES
    assert rfc_coverage.DOCUMENT.read_text(encoding="utf-8") == rfc_coverage.document(FILES)
