"""The way to the submission function: botocore's client against Lambda as local mode plays it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from egret.aws.clients import Clients, Target
from egret.aws.submitter import LambdaSubmitter
from egret.contracts.submission import MAX_INLINE_BYTES, STAGING, Submission, SubmissionRecipient, Submitted
from egret.core.errors import Unavailable
from egret.memory.blobs import MemoryBlobs
from egret_local.gateway import invocations

SUBMISSION = Submission(
    key_hash="5" * 64,
    mail_from="app@example.com",
    recipients=(SubmissionRecipient("ann@example.net", "NEVER"),),
    content=b"From: app@example.com\r\n\r\n\xff\r\n",
)


@contextmanager
def played(invoke: Callable[[Any], Any], blobs: MemoryBlobs) -> Iterator[LambdaSubmitter]:
    """Play the function; give the adapter that calls it."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(invocations("egret-submit", invoke))
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    target = Target("eu-west-1", "http://127.0.0.1:9", "key", "secret", lambda_url=url)
    try:
        yield LambdaSubmitter(Clients(target), "egret-submit", blobs)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_the_function_gets_the_submission_and_its_answer_comes_back() -> None:
    """Small content in the call itself, byte for byte; the endpoint is Lambda's own."""
    seen: list[Submission] = []

    def invoke(event: Any) -> Any:
        seen.append(msgspec.convert(event, Submission))
        return {"id": 1024, "message_id": "<1@example.com>"}

    blobs = MemoryBlobs()
    with played(invoke, blobs) as submitter:
        assert submitter.submit(SUBMISSION) == Submitted(1024, "<1@example.com>")

    assert seen == [SUBMISSION]


def test_large_content_goes_by_way_of_the_bucket() -> None:
    """A call takes 6 MB; the function finds the content under the prefix that is its own."""
    content = b"x" * (MAX_INLINE_BYTES + 1)
    blobs, seen = MemoryBlobs(), list[Submission]()

    def invoke(event: Any) -> Any:
        seen.append(msgspec.convert(event, Submission))
        assert blobs.get(seen[0].key) == content
        return {"code": "badFrom", "message": "No."}

    with played(invoke, blobs) as submitter:
        answer = submitter.submit(msgspec.structs.replace(SUBMISSION, content=content))

    assert answer == Submitted(code="badFrom", message="No.")
    assert seen[0].content == b""
    assert seen[0].key.startswith(STAGING)


def test_the_largest_inline_content_fits_into_a_call() -> None:
    """With base64 and a thousand of the longest addresses."""
    recipients = tuple(SubmissionRecipient(f"{'a' * 60}{n:04}@{'b' * 63}.example", "SUCCESS") for n in range(1000))
    large = msgspec.structs.replace(SUBMISSION, content=b"\xff" * MAX_INLINE_BYTES, recipients=recipients)

    with played(lambda _: {"id": 1}, MemoryBlobs()) as submitter:
        assert submitter.submit(large) == Submitted(1)


def _fails(_: Any) -> Any:
    raise KeyError("EGRET_SECRET")


@pytest.mark.parametrize("invoke", [_fails, lambda _: "no answer", lambda _: {"id": "x"}, lambda _: None])
def test_a_function_that_fails_leaves_it_open(invoke: Callable[[Any], Any]) -> None:
    """The client is to come again: nobody knows whether the message was committed."""
    with played(invoke, MemoryBlobs()) as submitter, pytest.raises(Unavailable):
        submitter.submit(SUBMISSION)


def test_a_function_is_called_once() -> None:
    """A second call would be a second message: the SDK's own retries are off."""
    calls = []

    async def refuse(_: web.Request) -> web.Response:
        calls.append(1)
        return web.json_response({"Message": "Rate exceeded"}, status=503)

    async def run() -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", refuse)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        target = Target("eu-west-1", "", "key", "secret", lambda_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        submitter = LambdaSubmitter(Clients(target), "egret-submit", MemoryBlobs())
        with pytest.raises(Unavailable):
            await asyncio.to_thread(submitter.submit, SUBMISSION)
        await runner.cleanup()

    asyncio.run(run())
    assert calls == [1]


def test_a_function_that_is_not_there() -> None:
    """Is no refusal of the message."""
    with played(lambda _: {}, MemoryBlobs()) as submitter:
        submitter._function = "another"
        with pytest.raises(Unavailable):
            submitter.submit(SUBMISSION)
