"""The queues of hints and calls: standard SQS queues, fair by account (the account is the MessageGroupId)."""

from __future__ import annotations

from collections.abc import Sequence

from egret.aws.clients import Clients, calling
from egret.contracts.queues import Call, Hint, encode_queue_body
from egret.core.errors import Unavailable

BATCH = 10
"""Messages of one SendMessageBatch."""
BATCH_BYTES = 250_000
"""Of one batch: the limit is 256 KiB, and keys count too."""
ROUNDS = 3
"""Tries for the messages of a batch that the queue did not take."""


class _Queue:
    def __init__(self, clients: Clients, url: str) -> None:
        self._clients = clients
        self._url = url

    def _put(self, values: Sequence[Hint | Call]) -> None:
        batch: list[tuple[str, str]] = []
        size = 0
        for value in values:
            body = encode_queue_body(value)
            if batch and (len(batch) == BATCH or size + len(body) > BATCH_BYTES):
                self._send(batch)
                batch, size = [], 0
            batch.append((value.account, body))
            size += len(body)
        if batch:
            self._send(batch)

    def _send(self, batch: list[tuple[str, str]]) -> None:
        """Send what is left of a batch until nothing is; each message may arrive more than once."""
        entries = [
            {"Id": str(index), "MessageBody": body, "MessageGroupId": account}
            for index, (account, body) in enumerate(batch)
        ]
        failed: dict[str, str] = {}
        for _ in range(ROUNDS):
            with calling("sqs SendMessageBatch"):
                answer = self._clients.sqs_api.call("SendMessageBatch", {"QueueUrl": self._url, "Entries": entries})
            failed = {one["Id"]: one["Code"] for one in answer.get("Failed", [])}
            if not failed:
                return
            entries = [entry for entry in entries if entry["Id"] in failed]
        raise Unavailable(detail=f"sqs SendMessageBatch: {len(failed)} left over: {', '.join(set(failed.values()))}")


class SqsHintQueue(_Queue):
    """The `HintQueue` port."""

    def put(self, hints: Sequence[Hint]) -> None:
        """Queue hints; a failure may leave some of them queued."""
        self._put(hints)


class SqsCallQueue(_Queue):
    """The `CallQueue` port."""

    def put(self, calls: Sequence[Call]) -> None:
        """Queue calls; a failure may leave some of them queued."""
        self._put(calls)
