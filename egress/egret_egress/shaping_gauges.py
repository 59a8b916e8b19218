"""What each provider is given now, for whoever looks."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from egret.contracts.metrics import Labels, Metrics
from egret_egress.metrics import SHAPING_CONNECTIONS, SHAPING_RATE, SHAPING_SUSPENDED
from egret_egress.pacing import Lane, Pacing

MOST = 50
"""Providers that are shown, those sent to last: there may be as many as recipients have."""


def watch_pacing(metrics: Metrics, pacing: Pacing, now: Callable[[], float]) -> None:
    """Let metrics ask for the limits of providers that have some. now: Unix seconds."""

    def of_each(value: Callable[[Lane, float], float | None]) -> Callable[[], dict[Labels, float]]:
        def read() -> dict[Labels, float]:
            at = now()
            shown = heapq.nlargest(MOST, pacing.lanes(), key=lambda lane: lane.state.used_at)
            values = {(lane.provider.name, lane.source): value(lane, at) for lane in shown}
            return {whose: float(one) for whose, one in values.items() if one is not None}

        return read

    metrics.watch(SHAPING_RATE, of_each(Lane.message_rate))
    metrics.watch(SHAPING_CONNECTIONS, of_each(Lane.most_connections))
    metrics.watch(SHAPING_SUSPENDED, of_each(_suspended_s))


def _suspended_s(lane: Lane, now: float) -> float | None:
    hold = lane.hold(now)
    return hold.until - now if hold is not None else None
