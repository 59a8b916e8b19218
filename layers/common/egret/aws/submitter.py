"""The way from the SMTP listener to the submission function: a call that is waited for, large content by way of S3."""

from __future__ import annotations

import secrets

import msgspec

from egret.aws.clients import Clients, calling
from egret.contracts.ports import Blobs
from egret.contracts.submission import MAX_INLINE_BYTES, STAGING, Submission, Submitted, decode_submitted, encode
from egret.core.errors import Unavailable


class LambdaSubmitter:
    """The `Submitter` port. blobs: for content that is too large for a call; the function removes it."""

    def __init__(self, clients: Clients, function: str, blobs: Blobs) -> None:
        self._clients = clients
        self._function = function
        self._blobs = blobs

    def submit(self, submission: Submission) -> Submitted:
        """Have a submission taken or refused; raises Unavailable when nobody knows what became of it."""
        if len(submission.content) > MAX_INLINE_BYTES:
            key = STAGING + secrets.token_hex(16)
            self._blobs.put(key, submission.content)
            submission = msgspec.structs.replace(submission, content=b"", key=key)
        with calling("lambda Invoke"):
            answer = self._clients.functions.invoke(FunctionName=self._function, Payload=encode(submission))
            body = answer["Payload"].read()
        if "FunctionError" in answer:
            raise Unavailable(detail=f"the submission function failed: {answer['FunctionError']}")
        try:
            return decode_submitted(body)
        except msgspec.MsgspecError as error:
            raise Unavailable(detail=f"the answer of the submission function cannot be read: {error}") from error
