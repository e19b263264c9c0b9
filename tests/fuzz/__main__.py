"""`python -m tests.fuzz [--n 200000] [--seed 1] [--only NAME]`: bad inputs for every parser (`make fuzz`).

The last line of standard output is JSON: inputs, parsers, crashes, refusals_without_field. Each defect is said with the
seed that makes its input again, and its input is left in build/fuzz. Status 1 when there was one.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.parsers import PARSERS, Parser

SLOW_SECONDS = 2.0  # for an input of at most 100 KB
SHOWN = 5


@dataclass(slots=True)
class Found:
    """What the inputs have shown so far."""

    counts: Counter[str] = field(default_factory=Counter)
    defects: list[tuple[str, int, bytes, str]] = field(default_factory=list)

    def add(self, parser: Parser, seeds: list[bytes], seed: int) -> None:
        """Gives one input to one parser."""
        self.give(parser, mutated(random.Random(f"{parser.corpus} {seed}"), seeds), seed)

    def give(self, parser: Parser, data: bytes, seed: int = -1) -> None:
        self.counts["inputs"] += 1
        begin = time.process_time()
        try:
            refusal = parser.reads(data)
        except Exception as error:
            self.counts["crashes"] += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._defect(
                parser, seed, data, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"[-400:]
            )
            return
        if time.process_time() - begin > SLOW_SECONDS:
            self.counts["slow"] += 1
            self._defect(parser, seed, data, "takes too long")
        if refusal is not None:
            self.counts["refused"] += 1
            if parser.names is not None and not parser.names.match(refusal):
                self.counts["refusals_without_field"] += 1
                self._defect(parser, seed, data, f"names no field: {refusal[:300]}")

    def _defect(self, parser: Parser, seed: int, data: bytes, words: str) -> None:
        self.defects.append((parser.corpus, seed, data, words))

    def line(self, parsers: int) -> dict[str, int]:
        names = ("inputs", "refused", "crashes", "slow", "refusals_without_field")
        return {"parsers": parsers, **{name: self.counts[name] for name in names}}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=200_000, help="inputs, shared by all parsers (200000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first of each parser (1)")
    parser.add_argument("--only", default="", help="the parsers whose names contain this")
    options = parser.parse_args(arguments)
    chosen = [each for each in PARSERS if options.only in each.corpus]
    if not chosen:
        parser.error(f"no parser is called {options.only}")
    warnings.simplefilter("error")  # an overflow in numpy only warns
    found, begin = Found(), time.monotonic()
    each_gets = math.ceil(options.n / sum(each.share for each in chosen))
    for each in chosen:
        before, seeds, crashed = found.counts.copy(), each.seeds(), len(found.defects)
        for data in seeds:
            found.give(each, data)
        for seed in range(options.seed, options.seed + max(1, round(each_gets * each.share))):
            found.add(each, seeds, seed)
        refused = found.counts["refused"] - before["refused"]
        given = found.counts["inputs"] - before["inputs"]
        print(f"{each.corpus}: {given} inputs, {refused} refused", file=sys.stderr)
        for words in list(dict.fromkeys(defect[3] for defect in found.defects[crashed:]))[:SHOWN]:
            print(f"  DEFECT {words}", file=sys.stderr)
    _keep(found)
    print(json.dumps({**found.line(len(chosen)), "seconds": round(time.monotonic() - begin, 1)}))
    return 1 if found.defects else 0


def _keep(found: Found) -> None:
    folder = Path(__file__).resolve().parents[2] / "build" / "fuzz"
    for name, seed, data, _ in found.defects[:200]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{seed}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
