"""One process for one function: `python -m egret_local.worker NAME`, with its event sources played around it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from egret import posix
from egret.aws.jsonapi import DYNAMODB, SQS
from egret_local import gateway, resources
from egret_local.handlers import Context, load
from egret_local.settings import HOST, REGION, SUBMIT_FUNCTION, LocalSettings, from_environment
from egret_local.sources import Invoke, QueueSource, ScheduleSource, StreamSource
from egret_local.stack import Function, Names

EVERY_MINUTE = "rate(1 minute)"
"""The schedule of the sweep, which is hastened here; others are hourly."""
HOUR_S = 3600.0
Runner = Any
"""A source: something with `run(stop)`."""


def main() -> None:
    """Run until asked to end."""
    name = sys.argv[1]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    spec = json.loads(os.environ["EGRET_LOCAL_FUNCTION"])
    function = Function(**{**spec, "environment": {}, "sources": ()})
    settings = from_environment(os.environ, Path(os.environ["EGRET_LOCAL_ROOT"]))
    handler = load(settings.root, function.folder, function.entry)

    def invoke(event: Any) -> Any:
        return handler(event, Context(name, function.timeout_s))

    stop = threading.Event()
    sources = [_source(described, invoke) for described in spec["sources"]]
    threads = [threading.Thread(target=source.run, args=(stop,), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    with asyncio.Runner(loop_factory=posix.loop_factory()) as runner:
        runner.run(_serve(*_behind(function, invoke, settings)))
    stop.set()
    for thread in threads:
        thread.join(timeout=2)


def _behind(function: Function, invoke: Invoke, settings: LocalSettings) -> tuple[web.Application | None, int]:
    """Return what is in front of the function, and its port: the API, or Lambda where it is called directly."""
    if function.has_http:
        return gateway.application(invoke), settings.http_port
    if function.name == SUBMIT_FUNCTION:
        return gateway.invocations(function.name, invoke), settings.invoke_port
    return None, 0


async def _serve(application: web.Application | None, port: int) -> None:
    """Serve HTTP, if there is something to serve, until asked to end."""
    ended = asyncio.Event()
    posix.on_terminate(asyncio.get_running_loop(), ended.set)
    if application is None:
        await ended.wait()
        return
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await ended.wait()
    await runner.cleanup()


def _source(source: dict[str, Any], invoke: Invoke) -> Runner:
    """Return the player of one event source of the template."""
    settings = from_environment(os.environ, Path(os.environ["EGRET_LOCAL_ROOT"]))
    endpoint = settings.emulator_url
    if source["kind"] == "Schedule":
        is_sweep = source["pattern"] == EVERY_MINUTE
        return ScheduleSource(settings.sweep_s if is_sweep else HOUR_S, invoke)
    names = Names(endpoint, REGION, str)
    if source["kind"] == "SQS":
        return QueueSource(
            resources.api(SQS, endpoint),
            names.reference(source["source"], "AWS::SQS::Queue"),
            names.attribute(source["source"], "AWS::SQS::Queue", "Arn"),
            source["batch_size"],
            invoke,
        )
    named = {"TableName": names.physical(source["source"])}
    table = resources.api(DYNAMODB, endpoint).call("DescribeTable", named)["Table"]
    return StreamSource(
        resources.api(resources.STREAMS, endpoint),
        table["LatestStreamArn"],
        source["batch_size"],
        source["pattern"],
        settings.state / f"stream-{source['source']}.json",
        invoke,
    )


if __name__ == "__main__":
    main()
