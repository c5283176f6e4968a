"""Looks at the run once a second: rates, the gateway's process and its /metrics, and the tool's own lag."""

import os
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from gateway.load.distribution import Distribution
from gateway.load.line import Address
from gateway.load.measures import Measures, Sample
from gateway.load.usage import Exposition, Usage, parse_metrics, read_usage

SAMPLE_S: Final = 1.0
KEPT_SAMPLES: Final = 3600
LAG_S: Final = 0.02  # between two looks at the tool's own loop
METRICS_S: Final = 5.0  # for an answer of /metrics


def open_http(address: Address) -> httpx2.AsyncClient:
    """A client for the gateway's /metrics."""
    scheme = "https" if address.tls else "http"
    headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
    base_url = f"{scheme}://{urlsplit(address.url).netloc}"
    return httpx2.AsyncClient(
        base_url=base_url, headers=headers, timeout=METRICS_S, trust_env=False, verify=address.tls
    )


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """All that is looked at from outside, at one moment in seconds; None for what cannot be seen."""

    at: float
    server: Usage | None
    tool: Usage | None
    exposition: Exposition | None


class Observer:
    """Takes samples; `tool_lag` is how late the tool's own loop was, `peak_rss` the gateway's most memory in bytes."""

    def __init__(self, http: httpx2.AsyncClient, pid: int | None, measures: Measures) -> None:
        self.samples: list[Sample] = []
        self.tool_lag = Distribution()
        self.peak_rss = 0
        self._http = http
        self._pid = pid
        self._measures = measures
        self._worst_lag = 0.0

    async def read(self) -> Reading:
        """Look now."""
        server = None if self._pid is None else read_usage(self._pid)
        if server is not None:
            self.peak_rss = max(self.peak_rss, server.rss_bytes)
        exposition = await self._read_metrics()
        return Reading(at=trio.current_time(), server=server, tool=read_usage(os.getpid()), exposition=exposition)

    async def run(self, on_sample: Callable[[], None]) -> None:
        """Sample until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_lag)
            began, before = trio.current_time(), await self.read()
            counts = self._counts()
            while True:
                await trio.sleep(SAMPLE_S)
                after, now_counts = await self.read(), self._counts()
                if len(self.samples) < KEPT_SAMPLES:
                    rates = [(b - a) / (after.at - before.at) for a, b in zip(counts, now_counts, strict=True)]
                    self.samples.append(self._sample(after.at - began, before, after, rates))
                before, counts, self._worst_lag = after, now_counts, 0.0
                on_sample()

    def _sample(self, at_s: float, before: Reading, after: Reading, rates: list[float]) -> Sample:
        seconds = after.at - before.at
        recent = self._measures.recent
        sample = Sample(
            at_s=round(at_s, 3),
            running=self._measures.running,
            messages=round(rates[0], 1),
            frames=round(rates[1], 1),
            bytes=round(rates[2], 1),
            text_age_ms=_p99_ms(recent.get("text age")),
            round_trip_ms=_p99_ms(recent.get("round trip")),
            loop_lag_ms=_mean_lag_ms(before.exposition, after.exposition),
            server_share=_share(before.server, after.server, seconds),
            server_mib=None if after.server is None else round(after.server.rss_bytes / 2**20, 2),
            tool_share=_share(before.tool, after.tool, seconds),
            tool_lag_ms=round(1000 * self._worst_lag, 2),
        )
        recent.clear()
        return sample

    def _counts(self) -> tuple[int, int, int]:
        return self._measures.messages.total(), self._measures.frames, self._measures.bytes

    async def _watch_lag(self) -> None:
        while True:
            due = trio.current_time() + LAG_S
            await trio.sleep_until(due)
            lag = max(0.0, trio.current_time() - due)
            self.tool_lag.add(lag)
            self._worst_lag = max(self._worst_lag, lag)

    async def _read_metrics(self) -> Exposition | None:
        try:
            response = await self._http.get("/metrics")
        except httpx2.HTTPError:
            return None
        return parse_metrics(response.text) if response.status_code == 200 else None


def _share(before: Usage | None, after: Usage | None, seconds: float) -> float | None:
    return None if before is None or after is None else round((after.cpu_s - before.cpu_s) / seconds, 3)


def _mean_lag_ms(before: Exposition | None, after: Exposition | None) -> float | None:
    if before is None or after is None:
        return None
    since = after.since(before)
    return round(1000 * since.lag_sum_s / since.looks, 3) if since.looks else None


def _p99_ms(distribution: Distribution | None) -> float | None:
    return None if distribution is None else distribution.quantiles().p99_ms
