"""Answers a second and their times: the service as a process, real clients on loopback, the encoder `static`.

    scripts/bench service-load --clients 50

The baseline of `/healthz` is a bare FastAPI on uvicorn's defaults; that of scores is the same judgement in
this process; that of small requests beside giant ones is the same small requests alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import httpx
import numpy as np
import typer

from benchmarks.options import OutOption, RepeatsOption, SeedOption
from benchmarks.rows import Row, quantiles, write
from coverage_lab.config import RunConfig, ServiceConfig
from coverage_lab.detect.load import load_judge, resolve_config
from coverage_lab.service import Scoring
from coverage_lab.simulate import simulate_day

CONFIG = resolve_config(RunConfig.model_validate({"encoder": {"name": "static"}, "job": {"threads": 1}}))
BARE = """
import socket, sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}
sock = socket.create_server(("127.0.0.1", 0))
print(f"listening on http://127.0.0.1:{sock.getsockname()[1]} ", flush=True)
config = uvicorn.Config(app, log_level="error", access_log=False)
uvicorn.Server(config).run(sockets=[sock])
"""
SERVE = "from coverage_lab.cli import main; main()"
Accounts = list[dict[str, object]]


@contextmanager
def running(*command: str) -> Iterator[str]:
    """Run a server until the block ends; gives its address once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.partition("listening on ")[2].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ready(url: str) -> None:
    """Wait until a service is warm."""
    while httpx.get(f"{url}/readyz").status_code != 200:
        time.sleep(0.1)


def body(accounts: Accounts) -> bytes:
    """A request."""
    return json.dumps({"accounts": accounts}).encode()


def simulated(accounts: int, seed: int) -> Accounts:
    """Accounts of a simulated day with their prompts."""
    found: dict[str, list[dict[str, object]]] = {}
    for row in simulate_day(seed=seed, accounts=accounts).traffic.to_pylist():
        moment = row["timestamp"].isoformat()
        found.setdefault(row["account_id"], []).append({"prompt": row["prompt"], "timestamp": moment})
    return [{"account_id": name, "prompts": rows} for name, rows in found.items()]


def singles(accounts: Accounts, count: int) -> list[bytes]:
    """Requests about one prompt of one account each."""
    prompts = [row for account in accounts for row in account["prompts"]]  # type: ignore[attr-defined]
    return [body([{"account_id": f"one-{i}", "prompts": [prompts[i % len(prompts)]]}]) for i in range(count)]


class Connection:
    """A connection that is kept: httpx takes 12 ms for a request of 200 at once, more than the service."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)

    async def __aenter__(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**20)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def ask(self, head: str, content: bytes = b"") -> int:
        """Send a request, read its answer, return the status."""
        length = f"Host: {self._host}\r\nContent-Length: {len(content)}\r\n\r\n"
        self._writer.write(f"{head}\r\n{length}".encode() + content)
        await self._writer.drain()
        told = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        await self._reader.readexactly(int(told.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return int(told.split(b" ", 2)[1])


async def healths(url: str, count: int) -> list[float]:
    """Seconds of each of some calls of /healthz on one connection."""
    spent = []
    async with Connection(url) as http:
        for _ in range(count + 1):
            start = time.perf_counter()
            assert await http.ask("GET /healthz HTTP/1.1") == 200
            spent.append(time.perf_counter() - start)
    return spent[1:]


async def scores(url: str, bodies: list[bytes], clients: int) -> tuple[list[float], float, int]:
    """Seconds of each request, of all, and how many were refused; some clients at once."""
    spent: list[float] = []
    refused = 0
    left = list(bodies)

    async def client() -> None:
        nonlocal refused
        async with Connection(url) as http:
            while left:
                one = left.pop()
                start = time.perf_counter()
                status = await http.ask("POST /v1/score HTTP/1.1\r\nContent-Type: application/json", one)
                spent.append(time.perf_counter() - start)
                refused += status != 200

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return spent, time.perf_counter() - start, refused


async def beside(url: str, small: list[bytes], giant: bytes) -> list[float]:
    """Seconds of small requests, one after the other, while a giant one is always in work."""
    done = asyncio.Event()

    async def giants() -> None:
        while not done.is_set():
            await scores(url, [giant], 1)

    task = asyncio.create_task(giants())
    await asyncio.sleep(0.2)
    spent, _, _ = await scores(url, small, 1)
    done.set()
    await task
    return spent


def load_rows(accounts: int, clients: int, repeats: int, seed: int) -> Iterator[Row]:
    """Yield a row of each way to ask."""
    people = simulated(accounts, seed)
    one_by_one = singles(people, max(20, 10 * repeats))
    thousand = people[: max(1, accounts // 4)]
    with running(BARE) as bare, running(SERVE, "serve", "--encoder", "static", "--port", "0") as url:
        ready(url)
        base = asyncio.run(healths(bare, 200))
        spent = asyncio.run(healths(url, 200))
        yield {
            "op": "GET /healthz, one connection",
            "case": "200 calls",
            **quantiles(spent),
            "baseline": "bare FastAPI",
            "baseline_median_s": quantiles(base)["median_s"],
            "slowdown": round(float(np.median(spent) / np.median(base)), 3),
        }
        scoring = Scoring(load_judge(CONFIG, threads=1), CONFIG.traffic, ServiceConfig(), threads=1)
        for op, case, bodies in (
            ("one prompt a request, one client", f"{len(one_by_one)} requests", one_by_one),
            ("many prompts a request, one client", f"{len(thousand)} accounts", [body(thousand)] * repeats),
        ):
            in_process = []
            for one in bodies:
                start = time.perf_counter()
                scoring.answer(one)
                in_process.append(time.perf_counter() - start)
            spent, _, refused = asyncio.run(scores(url, bodies, 1))
            yield {
                "op": op,
                "case": case,
                "refused": refused,
                **quantiles(spent),
                "baseline": "the same judgement in process",
                "baseline_median_s": quantiles(in_process)["median_s"],
                "slowdown": round(float(np.median(spent) / np.median(in_process)), 3),
            }
        alone, _, _ = asyncio.run(scores(url, one_by_one, 1))
        many = singles(people, 4 * clients)
        spent, elapsed, refused = asyncio.run(scores(url, many, clients))
        yield {
            "op": "one prompt a request, many clients",
            "case": f"{clients} clients",
            "refused": refused,
            "accounts_per_s": round(len(many) / elapsed, 1),
            **quantiles(spent),
            "baseline": "one client",
            "baseline_median_s": quantiles(alone)["median_s"],
            "speedup": round(len(many) / elapsed * float(np.mean(alone)), 2),
        }
        busy = asyncio.run(beside(url, one_by_one, body(people)))
        p99, p99_alone = (float(np.quantile(times, 0.99)) for times in (busy, alone))
        yield {
            "op": "one prompt a request beside giant ones",
            "case": f"giants of {len(people)} accounts",
            "p99_s": round(p99, 4),
            **quantiles(busy),
            "baseline": "the same requests alone",
            "baseline_p99_s": round(p99_alone, 4),
            "slowdown": round(p99 / p99_alone, 3),
        }


def benchmark(
    accounts: Annotated[int, typer.Option("--accounts", min=20, help="Of the simulated day.")] = 60,
    clients: Annotated[int, typer.Option("--clients", min=1, help="At once, at most.")] = 200,
    repeats: RepeatsOption = 3,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time a service under load."""
    write("service-load", load_rows(accounts, clients, repeats, seed), out=out)
