"""How reports name the stage of the conversation at which a server refused, as data, with sources and examples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageMark:
    """Words of one program. example: a text that has them. pattern: a regular expression, letter case aside."""

    source: str
    example: str
    pattern: str


AT_MAIL: tuple[StageMark, ...] = (
    StageMark(
        "Postfix ('in reply to'), Exim ('remote mail server after'), sendmail (the command after '>>>')",
        "host mx.example.net[192.0.2.1] said: 553 no such sender (in reply to MAIL FROM command)",
        r"\bMAIL FROM\b",
    ),
    StageMark("Yahoo", "Remote host said: 501 5.1.8 Sender address rejected [MAIL_FROM]", r"\bMAIL_FROM\b"),
    StageMark("GMX and mail.com", "SMTP error from remote server after MAIL command:", r"\bafter MAIL command\b"),
    StageMark("qmail-remote.c", "Connected to 192.0.2.1 but sender was rejected.", r"\bbut sender was rejected\b"),
)
AT_RCPT: tuple[StageMark, ...] = (
    StageMark(
        "Postfix ('in reply to'), Exim ('remote mail server after'), sendmail (the command after '>>>')",
        "SMTP error from remote mail server after RCPT TO:<ann@example.net>: 550 no such user",
        r"\bRCPT TO\b",
    ),
    StageMark("Yahoo", "Remote host said: 550 5.1.1 User Unknown [RCPT_TO]", r"\bRCPT_TO\b"),
    StageMark("GMX and mail.com", "SMTP error from remote server after RCPT command:", r"\bafter RCPT command\b"),
    StageMark("qmail-remote.c", "192.0.2.1 does not like recipient.", r"\bdoes not like recipient\b"),
    StageMark("Gmail: its state 14 is RCPT", "550 550 5.1.1 user unknown (state 14).", r"\(state 14\)"),
    StageMark(
        "A program that names itself nowhere, with 'Technical details' between lines of '='",
        "SMTP:RCPT host 192.0.2.1: 553 5.3.0 <ann@example.net>... No such user here",
        r"\bSMTP:RCPT\b",
    ),
)
AT_DATA: tuple[StageMark, ...] = (
    StageMark(
        "Postfix and Exim, of the content",
        "SMTP error from remote mail server after end of data: 550 user unknown",
        r"\bend of data\b",
    ),
    StageMark(
        "Postfix, GMX and mail.com, qmail-remote.c, of the command",
        "192.0.2.1 failed on DATA command.",
        r"\bDATA command\b",
    ),
    StageMark(
        "Exim, of the command", "SMTP error from remote mail server after DATA: 550 user unknown", r"\bafter DATA\b"
    ),
    StageMark("sendmail", ">>> DATA", r">>> DATA\b"),
    StageMark("qmail-remote.c", "192.0.2.1 failed after I sent the message.", r"\bafter I sent the message\b"),
    StageMark(
        "Gmail: its states after 14 are DATA and the content",
        "550 550 5.1.1 user unknown (state 18).",
        r"\(state 1[5-8]\)",
    ),
)
