"""Answer the SMTP listener: who submits, what, and what becomes of it. The listener itself keeps nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from egret.contracts.caller import Caller
from egret.contracts.settings import Scope
from egret.contracts.submission import Submission, Submitted, Trouble
from egret.core.errors import InvalidRequest, Unavailable
from egret.usecases.accept import SendPorts
from egret.usecases.login import KeyUse, key_and_account, note_use
from egret.usecases.submit import submit

log = logging.getLogger(__name__)

MAY_SEND = frozenset({Scope.FULL, Scope.SEND})


@dataclass(frozen=True, slots=True)
class AnswerPorts:
    """What answering needs. key_use: where the use of a key is noted."""

    send: SendPorts
    key_use: KeyUse


def answer_submission(ports: AnswerPorts, submission: Submission, facts: dict[str, object] | None = None) -> Submitted:
    """Take a submission or say why not; staged content is removed either way. facts: gets what the log tells of it."""
    try:
        return _answer(ports, submission, {} if facts is None else facts)
    except InvalidRequest as error:
        return Submitted(code=error.code, message=error.public)
    except Unavailable as error:
        log.warning("a submission cannot be taken", extra={"error": str(error)})
        return Submitted(code=Trouble.UNAVAILABLE, message=error.public)
    finally:
        _drop(ports, submission)


def _answer(ports: AnswerPorts, submission: Submission, facts: dict[str, object]) -> Submitted:
    caller = _caller(ports, submission)
    facts["account"] = caller.account.id
    result = submit(ports.send, caller, _with_content(ports, submission), facts)
    return Submitted(result.submissions[0].queue_msg_id, result.message_id)


def _caller(ports: AnswerPorts, submission: Submission) -> Caller:
    found = key_and_account(ports.send.settings, submission.key_hash)
    if found is None or found[1].disabled or found[0].scope not in MAY_SEND:
        raise InvalidRequest(Trouble.NO_LOGIN, "The API key may not send, or no longer.")
    key, account = found
    note_use(ports.key_use, key, ports.send.clock.now())
    return Caller(account, key.login, key.scope)


def _with_content(ports: AnswerPorts, submission: Submission) -> Submission:
    """Return the submission with its content in it, as it is compared with an earlier one of the same key."""
    if not submission.key:
        return submission
    content = ports.send.blobs.get(submission.key)
    if content is None:
        raise Unavailable(detail=f"{submission.key} is not there")
    return msgspec.structs.replace(submission, content=content, key="")


def _drop(ports: AnswerPorts, submission: Submission) -> None:
    if submission.key:
        try:
            ports.send.blobs.delete(submission.key)
        except Unavailable as error:  # it expires by itself
            log.warning("staged content is left behind", extra={"key": submission.key, "error": str(error)})
