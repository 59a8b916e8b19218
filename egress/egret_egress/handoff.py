"""The private HTTP side of a unit: `POST /v1/handoff`, `GET /healthz` and `GET /metrics`.

Only the first asks for the secret. The others tell of no account, domain or address, and the side is bound to a private
address that a security group guards.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from egret.contracts import handoff as contract
from egret_egress.engine import Draining, Engine

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 1024 * 1024
"""deliver sends at most 4 MB of inline content in one handoff; envelopes and more than one content fit in the rest."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """Metrics as a scraper reads them. text: made when asked for. content_type: with the version of the format."""

    text: Callable[[], bytes]
    content_type: str


@dataclass(frozen=True, slots=True)
class HandoffSettings:
    """unit: our id. secret: what deliver must show. status: facts that /healthz shows beside the engine's.

    exposition: what /metrics answers; None = there is no such page.
    """

    unit: str
    secret: str = field(repr=False)
    status: Callable[[], Mapping[str, object]] = dict
    exposition: Exposition | None = None


def application(engine: Engine, settings: HandoffSettings) -> web.Application:
    """Return the HTTP application; the caller binds it to the private address."""
    endpoint = _Endpoint(engine, settings)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post(contract.PATH, endpoint.take)
    app.router.add_get("/healthz", endpoint.health)
    app.router.add_get("/metrics", endpoint.metrics)
    return app


class _Endpoint:
    def __init__(self, engine: Engine, settings: HandoffSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._expected = f"Bearer {settings.secret}".encode()

    async def take(self, request: web.Request) -> web.Response:
        """Answer 202 with what was taken, or say in one line why nothing was."""
        shown = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not self._settings.secret or not hmac.compare_digest(shown, self._expected):
            return _no(401, "The secret is missing or wrong.")
        try:
            handed = contract.decode_handoff(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _no(413, "The handoff is too large.")
        except msgspec.MsgspecError as error:
            log.warning("a handoff cannot be read: %s", error)
            return _no(400, "The handoff cannot be read.")
        if handed.version > contract.VERSION:
            return _no(400, "The handoff is of a version that this unit does not know.")
        if handed.unit != self._settings.unit:
            return _no(409, "The handoff is for another unit.")
        try:
            answer = self._engine.take(handed)
        except Draining:
            return _no(503, "The unit is draining.")
        return web.Response(status=202, body=contract.encode(answer), content_type=contract.CONTENT_TYPE)

    async def health(self, request: web.Request) -> web.Response:
        """Say how the unit is; 503 while it drains, so that nobody waits for it."""
        status = {
            "unit": self._settings.unit,
            "room": self._engine.room,
            "draining": self._engine.is_draining,
            **self._settings.status(),
        }
        return web.json_response(status, status=503 if self._engine.is_draining else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        """Expose the metrics; also while the unit drains, which is when they are wanted."""
        exposition = self._settings.exposition
        if exposition is None:
            return _no(404, "This unit counts nothing.")
        return web.Response(body=exposition.text(), headers={"Content-Type": exposition.content_type})


def _no(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=sentence + "\n")
