"""The operator of a run, kept alive as a kubelet keeps a container: started again a moment after it has ended."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.campaign.logpipe import LogPipe
from tests.integration.support import Bed, eventually

from bed.operator import NAMESPACE, Operator
from bed.paths import REPOSITORY

RESTART_SECONDS = 0.5
LEASE_SECONDS = 15  # as it is by default
BLOCK_SECONDS = 17.0  # longer than such a Lease is waited for


class KeptOperator:
    """`async with KeptOperator(...) as kept`; the process of the moment is `kept.operator`.

    It serves the run's namespace only, under a Lease of its own name.
    """

    def __init__(
        self, bed: Bed, name: str, *, namespace: str, lease: str, kubeconfig: Path, flags: tuple[str, ...] = (),
        shimmed: bool = False, piped: bool = False,
    ) -> None:  # fmt: skip
        self.operator: Operator
        self.exits: list[int] = []
        self.kubeconfig = kubeconfig
        self.pipe = LogPipe(bed.controlplane.logs / f"{name}.log") if piped else None
        self._bed, self._name, self._shimmed = bed, name, shimmed
        self._clock = bed.controlplane.folder / f"{name}.clock"
        self._flags = (
            *("--namespaces", namespace, "--lease-name", lease, "--lease-namespace", NAMESPACE),
            *("--lease-duration-seconds", str(LEASE_SECONDS)),
            *flags,
        )

    @property
    def restarts(self) -> int:
        return len(self.exits)

    async def __aenter__(self) -> Self:
        self.operator = await self._started()
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        await asyncio.to_thread(self.operator.stop, grace_seconds=5.0)
        if self.pipe:
            self.pipe.close()

    async def stop(self) -> int | None:
        """SIGTERM, and no other is started."""
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        return await asyncio.to_thread(self.operator.stop)

    def kill(self) -> None:
        """SIGKILL; the next one comes by itself."""
        self.operator.process.send(signal.SIGKILL)

    def block(self) -> None:
        """Holds up its event loop for `BLOCK_SECONDS`; the process must be shimmed."""
        self.operator.process.send(signal.SIGUSR2)

    def clock(self, shift_seconds: float) -> None:
        """Its wall clock is off by so much from now on, also when it is started again; it must be shimmed."""
        self._clock.write_text(str(shift_seconds))

    async def until_ready(self, within_seconds: float = 120.0) -> None:
        """Until it works or stands by."""

        async def ready() -> bool:
            return (await asyncio.to_thread(self.operator.get, "/readyz"))[0] == 200

        await eventually(ready, within_seconds, lambda: self.operator.process.log_tail(20))

    async def page(self) -> str:
        """Its metrics; empty when it does not answer."""
        status, text = await asyncio.to_thread(self.operator.get, "/metrics")
        return text if status == 200 else ""

    @property
    def open_files(self) -> int:
        """How many descriptors it has open, sockets included; 0 when it has ended."""
        try:
            return sum(1 for _ in Path(f"/proc/{self.operator.process.pid}/fd").iterdir())
        except OSError:
            return 0

    async def _started(self) -> Operator:
        env = {}
        if self._shimmed:
            folders = (Path(__file__).parent / "shim", REPOSITORY / "operator")
            env = {"PYTHONPATH": os.pathsep.join(map(str, folders)), "CAMPAIGN_CLOCK": str(self._clock)}
            env["CAMPAIGN_BLOCK_SECONDS"] = str(BLOCK_SECONDS)
        operator = await self._bed.aside(
            Operator, self._bed.controlplane, arguments=self._flags, name=self._name, kubeconfig=self.kubeconfig,
            env=env, log=self.pipe.path if self.pipe else None,
        )  # fmt: skip
        if self.pipe:
            operator.process.log = self.pipe.file
        return operator

    async def _keep(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                code = self.operator.process.returncode
                if code is None:
                    await asyncio.sleep(0.1)
                    continue
                self.exits.append(code)
                await asyncio.sleep(RESTART_SECONDS)
                self.operator = await self._started()
