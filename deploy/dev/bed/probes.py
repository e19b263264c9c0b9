"""Readiness probes as a kubelet does them: HTTP, TCP, or a command in the container's environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp

from bed.processes import die_with_parent


async def watch_readiness(
    probe: Mapping[str, Any],
    check: Callable[[], Awaitable[bool]],
    report: Callable[[bool], None],
) -> None:
    """Probes for ever, in the probe's rhythm, and reports each change after its thresholds."""
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    ready, streak, last = False, 0, False
    while True:
        passed = False
        with suppress(OSError, TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(probe.get("timeoutSeconds") or 1):
                passed = await check()
        streak = streak + 1 if passed == last else 1
        last = passed
        needed = (probe.get("successThreshold") or 1) if passed else (probe.get("failureThreshold") or 3)
        if passed != ready and streak >= needed:
            ready = passed
            report(ready)
        await asyncio.sleep(probe.get("periodSeconds") or 10)


async def probe_once(
    probe: Mapping[str, Any],
    container: Mapping[str, Any],
    pod_ip: str,
    env: Mapping[str, str],
    http: aiohttp.ClientSession,
) -> bool:
    """One try; the caller sets the time limit. Raises OSError or ClientError when nobody is there."""
    if get := probe.get("httpGet"):
        host, port = get.get("host") or pod_ip, _port(get["port"], container)
        url = f"{get.get('scheme', 'HTTP').lower()}://{host}:{port}/{get.get('path', '').lstrip('/')}"
        headers = {item["name"]: item["value"] for item in get.get("httpHeaders") or []}
        async with http.get(url, headers=headers, ssl=False, allow_redirects=False) as response:
            return 200 <= response.status < 400
    if tcp := probe.get("tcpSocket"):
        _, writer = await asyncio.open_connection(tcp.get("host") or pod_ip, _port(tcp["port"], container))
        writer.close()
        return True
    if command := (probe.get("exec") or {}).get("command"):
        return await _exec(command, env)
    return False


async def _exec(command: Sequence[str], env: Mapping[str, str]) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=die_with_parent(os.getpid()),
    )
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


def _port(port: int | str, container: Mapping[str, Any]) -> int:
    """A number, or the name of one of the container's ports."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise OSError(f"the container has no port named {port}")
