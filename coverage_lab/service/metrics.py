"""What `/metrics` says, in Prometheus' format: rates, times by stage, queue, refusals, ids, memory."""

from __future__ import annotations

import platform
import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.process_collector import ProcessCollector

from coverage_lab.service.answer import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PROMPTS = (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000)


class Metrics:
    """The counters of one service; each has a registry of its own.

    Parameters
    ----------
    health : Health
        What is judged with: shown as labels of `coverage_lab_service_info`.
    """

    def __init__(self, health: Health) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "coverage_lab_requests",
            "Requests by route, status and error code.",
            ["route", "status", "code"],
            registry=registry,
        )
        self.seconds = Histogram(
            "coverage_lab_stage_seconds",
            "Seconds of a request by stage: read (its body), decode, queue, judge, and the whole.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "coverage_lab_batch_seconds", "Seconds to judge a batch.", buckets=_SECONDS, registry=registry
        )
        self.batch_prompts = Histogram(
            "coverage_lab_batch_prompts", "Prompts of a batch.", buckets=_PROMPTS, registry=registry
        )
        self.judged_prompts = Counter("coverage_lab_judged_prompts", "Prompts judged.", registry=registry)
        self.judged_accounts = Counter("coverage_lab_judged_accounts", "Accounts judged.", registry=registry)
        self.gone = Counter(
            "coverage_lab_clients_gone", "Requests whose client went away first.", registry=registry
        )
        self.wrong_keys = Counter("coverage_lab_wrong_keys", "Requests with a wrong key.", registry=registry)
        self.waiting_requests = Gauge(
            "coverage_lab_waiting_requests", "Requests that wait or are judged.", registry=registry
        )
        self.waiting_prompts = Gauge(
            "coverage_lab_waiting_prompts",
            "Prompts that wait or are judged; an account counts as 15 more.",
            registry=registry,
        )
        self.held_bytes = Gauge("coverage_lab_held_bytes", "Bytes of bodies in memory.", registry=registry)
        self.connections = Gauge("coverage_lab_connections", "Open connections.", registry=registry)
        self.cut = Counter(
            "coverage_lab_connections_cut",
            "Connections that were refused or closed by the service, by reason.",
            ["reason"],
            registry=registry,
        )
        info = Info("coverage_lab_service", "What is judged with.", registry=registry)
        info.info(
            {
                "version": health.version,
                "encoder": health.encoder,
                "encoder_id": health.encoder_id,
                "atlas_id": health.atlas_id,
                "model_id": health.model_id or "none",
                "config_id": health.config_id,
                "python": platform.python_version(),
            }
        )
        if sys.platform == "linux":
            ProcessCollector(registry=registry)

    def batch(self, requests: int, accounts: int, prompts: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_seconds.observe(seconds)
        self.batch_prompts.observe(prompts)
        self.judged_prompts.inc(prompts)
        self.judged_accounts.inc(accounts)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
