"""Generated specs, given to the operator's own parser: is each read or refused as the CRD's schema says?

`broken` counts the answers that break a promise: an exception of any other kind, a field that the schema refuses and
the parser does not name, or the other way round.
"""

from __future__ import annotations

import argparse
import time

from tests.bench.common import Bar, Samples, finish, say
from tests.unit.spec_verdicts import Verdicts

BARS = (Bar("broken", 0),)
_SAID_EVERY = 10_000


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench specs", description=__doc__)
    parser.add_argument("--n", dest="inputs", type=int, default=100_000, help="specs (100000)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first one (1000000)")
    options = parser.parse_args(arguments)
    begin, found = time.monotonic(), Verdicts()
    with Samples("specs") as samples:
        for number in range(1, options.inputs + 1):
            found.add(options.seed + number - 1)
            if number % _SAID_EVERY == 0:
                say(f"{number} specs, {found.counts['refused']} refused, {len(found.wrong)} broken promises")
        for words in found.wrong:
            samples.add("broken", words=words)
        for words in found.wrong[:10]:
            say(words)
    figures = {
        **found.counts,
        "different_fields_refused": len(found.fields),
        "broken": len(found.wrong),
        "seconds": round(time.monotonic() - begin, 1),
    }
    return finish(figures, BARS)
