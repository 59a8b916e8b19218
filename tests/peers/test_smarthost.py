"""Logins to a real smarthost: Postfix with Cyrus SASL, which takes mail from those only who have logged in."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from egret.core.outcome import Deferred, Delivered, Outcome
from egret.core.tls_policy import TlsKind, TlsPolicy
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.opening import Dialing
from egret_egress.pool import Pool
from egret_egress.session import Credentials
from tests.certificates import Identity
from tests.conformance.scripted import NoDns, Notes, parcel
from tests.peers.access import access_table
from tests.peers.postfix import DOMAIN, Postfix, is_possible, running_postfix

pytestmark = pytest.mark.peers

ADDRESS, NAME = "127.0.0.27", "smarthost.example"
USER, PASSWORD = "ann", "correct horse, battery = staple"
SERVER = Identity(NAME)
POLICY = TlsPolicy(TlsKind.PKIX, "smarthost")


SETTINGS = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_type": "cyrus",
    "smtpd_sasl_path": "smtpd",
    "smtpd_sasl_local_domain": NAME,
    "smtpd_sasl_security_options": "noanonymous",
    "smtpd_tls_auth_only": "yes",
    "smtpd_tls_chain_files": "{config}/chain.pem",
    "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
}


def sasl(folder: Path, mechanisms: str) -> str:
    """Make the password known in a folder; return the settings of the SASL library, which Debian reads in sasl/."""
    database = folder / "sasldb2"
    subprocess.run(
        ["saslpasswd2", "-p", "-c", "-f", str(database), "-u", NAME, USER],
        input=PASSWORD.encode(),
        check=True,
        timeout=30,
    )
    shutil.chown(database, "postfix")
    return f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: {mechanisms}\n"


@pytest.fixture(params=["SCRAM-SHA-256 PLAIN", "PLAIN"], scope="module")
def smarthost(request: pytest.FixtureRequest) -> Iterator[tuple[Postfix, str]]:
    """A running one, and the mechanism that is to be used with it."""
    if not is_possible() or shutil.which("saslpasswd2") is None:
        pytest.skip("needs Postfix, Cyrus SASL, and root")
    folder = Path(tempfile.mkdtemp(prefix="egret-sasl-"))
    folder.chmod(0o755)
    try:
        files = {"sasl/smtpd.conf": sasl(folder, request.param)}
        chain = SERVER.chain_pem()
        with (
            access_table() as access,
            running_postfix(
                {"other.example": "error:"},
                access.port,
                address=ADDRESS,
                overrides=SETTINGS,
                chain_pem=chain,
                files=files,
            ) as postfix,
        ):
            yield postfix, request.param.split()[0]
    finally:
        shutil.rmtree(folder)


def send(password: str) -> Outcome:
    """Send one message by the smarthost."""

    async def run() -> Outcome:
        notes, pool = Notes(), Pool()
        host = Host(NAME, 25, POLICY, Credentials(USER, password), (ADDRESS,))
        courier = Courier(Fixed(host, NoDns()), pool, Dialing("unit.example", verified=SERVER.trusting()))
        await courier.deliver(parcel(notes, [f"bob@{DOMAIN}"], b"Subject: by the smarthost\r\n\r\nhello\r\n"))
        await pool.close()
        return notes.outcomes[0]

    return asyncio.run(run())


@pytest.mark.rfc("7677", "3")
def test_who_logs_in_may_send(smarthost: tuple[Postfix, str]) -> None:
    """By the strongest mechanism that the smarthost offers; its log says which it was."""
    postfix, mechanism = smarthost

    outcome = send(PASSWORD)

    assert isinstance(outcome, Delivered), (outcome, postfix.log)
    assert any(f"sasl_method={mechanism}, sasl_username={USER}" in line for line in postfix.log)


def test_a_wrong_password_is_said_so(smarthost: tuple[Postfix, str]) -> None:
    """The mail waits, and the reason names the mechanism and what to look at."""
    _, mechanism = smarthost

    outcome = send("guess")

    assert isinstance(outcome, Deferred), smarthost[0].log
    assert f"refused the login ({mechanism}); check the transport's user name and password" in outcome.reason
    assert outcome.reply is not None
    assert outcome.reply.code == 535
