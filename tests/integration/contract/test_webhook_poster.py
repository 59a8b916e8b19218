"""The contract of `WebhookPoster`: one call, and an answer whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from egret.contracts.ports import WebhookPoster
from egret.contracts.records import PostAnswer
from egret.memory.calls import MemoryPoster
from tests.integration.contract.loopback import Answer, Asked, closed_url, serving

TIMEOUT = timedelta(seconds=5)
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer x", "Webhook-Id": "evt_1"}
BODY = b'{"Subject":"\xc3\xbc"}\x00\xff'
Start = Callable[[Callable[[Asked], Answer]], tuple[WebhookPoster, str]]


def _http_poster() -> WebhookPoster:
    from egret.aws.poster import HttpWebhookPoster  # noqa: PLC0415 (memory needs no HTTP)

    return HttpWebhookPoster(allow_loopback=True)


@pytest.fixture(params=["memory", "http"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a receiver; returns a poster and the receiver's URL."""
    with ExitStack() as stack:

        def in_memory(receive: Callable[[Asked], Answer]) -> tuple[WebhookPoster, str]:
            def answer(url: str, headers: dict[str, str], body: bytes) -> PostAnswer:
                lowered = {name.lower(): value for name, value in headers.items()}
                given = receive(Asked(url.removeprefix("http://receiver.example"), lowered, body))
                return PostAnswer(given.status, given.headers, given.body)

            return MemoryPoster(lambda p: answer(p.url, dict(p.headers), p.body)), "http://receiver.example"

        def over_http(receive: Callable[[Asked], Answer]) -> tuple[WebhookPoster, str]:
            return _http_poster(), stack.enter_context(serving(receive))

        yield in_memory if request.param == "memory" else over_http


def test_receiver_gets_the_call_as_it_was_made(start: Start) -> None:
    """Path and query, every header, the body byte for byte."""
    seen: list[Asked] = []

    def receive(asked: Asked) -> Answer:
        seen.append(asked)
        return Answer(200, b"thanks", {"Retry-After": "7"})

    poster, url = start(receive)
    answer = poster.post(f"{url}/hook?a=1&b=%20", HEADERS, BODY, TIMEOUT)

    assert [(asked.path, asked.body) for asked in seen] == [("/hook?a=1&b=%20", BODY)]
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= seen[0].headers.items()
    assert (answer.status, answer.body, answer.error) == (200, b"thanks", "")
    assert answer.headers["Retry-After"] == "7"


def test_body_of_an_answer_is_read_to_512_octets(start: Start) -> None:
    """However long it is."""
    poster, url = start(lambda _: Answer(200, b"x" * 300_000))

    assert poster.post(url, HEADERS, BODY, TIMEOUT).body == b"x" * 512


@pytest.mark.parametrize("status", [204, 301, 307, 404, 410, 429, 500, 503])
def test_every_status_is_an_answer(start: Start, status: int) -> None:
    """Redirects too: nobody follows them."""
    seen: list[Asked] = []

    def receive(asked: Asked) -> Answer:
        seen.append(asked)
        return Answer(status, headers={"Location": "/elsewhere"})

    poster, url = start(receive)

    assert poster.post(f"{url}/hook", HEADERS, BODY, TIMEOUT).status == status
    assert len(seen) == 1


def test_trouble_on_the_way_is_an_answer_with_an_error() -> None:
    """Nobody listens; the connection is cut; the guard says no; the URL is none."""
    poster = _http_poster()
    with serving(lambda _: Answer(0)) as cut:
        urls = [closed_url(), cut, "http://10.0.0.1/", "http://169.254.169.254/latest", "ftp://a.example/", "nonsense"]
        answers = [poster.post(url, HEADERS, BODY, TIMEOUT) for url in urls]

    assert [0] * len(urls) == [answer.status for answer in answers]
    assert all(answer.error for answer in answers)
