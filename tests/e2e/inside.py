"""What a process in the operator's container is and may do, as JSON; run there by `kubectl exec … python -c`."""

from __future__ import annotations

import json
import os
from pathlib import Path


def writable(folder: str) -> bool:
    try:
        (Path(folder) / "x").touch()
    except OSError:
        return False
    return True


status = dict(line.split(":", 1) for line in Path("/proc/1/status").read_text().splitlines())
print(
    json.dumps(
        {
            "uid": os.getuid(),
            "capabilities": int(status["CapBnd"], 16),
            "seccomp": int(status["Seccomp"]),  # 2 is a filter
            "writable": [folder for folder in ("/", "/tmp", "/opt", "/var", "/home") if writable(folder)],
            "command": Path("/proc/1/cmdline").read_bytes().decode().rstrip("\0").split("\0"),
            "shells": [path for path in ("/bin/sh", "/bin/bash", "/usr/bin/pip3") if Path(path).exists()],
        }
    )
)
