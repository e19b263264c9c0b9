"""A real Prometheus that scrapes pages of ours. The product only speaks its API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from bed.parts import program
from bed.processes import die_with_parent, free_port

SCRAPE_SECONDS = 1
READY_SECONDS = 30.0


@asynccontextmanager
async def pages(by_pod: Mapping[str, Callable[[], str]]) -> AsyncIterator[int]:
    """Serves each pod's page below its name; gives the port."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=by_pod[request.match_info["pod"]]())

    application = web.Application()
    application.router.add_get("/{pod}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def configuration(port: int, pods: Mapping[str, str]) -> str:
    """Scrapes each pod of (name, namespace) with the labels that discovery in Kubernetes attaches."""
    targets = "".join(
        f"  - targets: ['127.0.0.1:{port}']\n"
        f"    labels: {{__metrics_path__: '/{pod}', pod: '{pod}', namespace: '{namespace}'}}\n"
        for pod, namespace in pods.items()
    )
    return (
        f"global: {{scrape_interval: {SCRAPE_SECONDS}s, scrape_timeout: {SCRAPE_SECONDS}s}}\n"
        f"scrape_configs:\n- job_name: pods\n  static_configs:\n{targets}"
    )


@asynccontextmanager
async def prometheus(folder: Path, config: str) -> AsyncIterator[str]:
    """Its address, once it is ready."""
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(config)
    process = await asyncio.create_subprocess_exec(
        program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn",
        f"--web.listen-address=127.0.0.1:{port}", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=die_with_parent(os.getpid()),
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        await _ready(address)
        yield address
    finally:
        process.terminate()
        await process.wait()


async def _ready(address: str) -> None:
    async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{address}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.2)
