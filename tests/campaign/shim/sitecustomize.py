"""Python loads this at the start of an operator of the campaign: a wall clock to be moved, a loop to be held up.

The clock of a machine cannot be set for one process. The operator's only wall clock is `time.time`, so that is what is
moved, by the seconds in the file that `CAMPAIGN_CLOCK` names. SIGUSR2 runs in the main thread, where the event loop is.
"""

import os
import signal
import time
from pathlib import Path

_clock = Path(os.environ["CAMPAIGN_CLOCK"])
_real = time.time


def _shifted() -> float:
    try:
        return _real() + float(_clock.read_text())
    except (OSError, ValueError):
        return _real()


time.time = _shifted
signal.signal(signal.SIGUSR2, lambda *_: time.sleep(float(os.environ["CAMPAIGN_BLOCK_SECONDS"])))
