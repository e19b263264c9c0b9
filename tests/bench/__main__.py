"""Benchmarks against the real parts: `python -m tests.bench NAME [flags]`, NAME is a module beside this file.

Progress goes to standard error, raw samples to build/bench/NAME.jsonl, and the last line of standard output is one
JSON object. Exit status 0: every bar is met; 1: a bar is missed; 2: wrong use.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_NOT_BENCHMARKS = {
    *("__main__", "chaos", "common", "crowd", "identities", "lag_peers", "lag_reader", "report"),
    *("soak_operator", "soak_sources", "stream", "truth"),
}


def main(arguments: list[str]) -> int:
    names = sorted({path.stem for path in _HERE.glob("*.py")} - _NOT_BENCHMARKS)
    if not arguments or arguments[0] not in names:
        print(f"usage: python -m tests.bench {{{','.join(names)}}} [flags]", file=sys.stderr)
        return 2
    repository = _HERE.parents[1]
    sys.path[:0] = [str(repository / "operator"), str(repository / "deploy" / "dev")]
    benchmark = importlib.import_module(f"tests.bench.{arguments[0]}")
    status: int = benchmark.main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
