"""The programs of the bed's pods, a producer beside them, and a database behind them.

python -m bed.workload consume --bootstrap … --group … --topic … --rate 100
python -m bed.workload produce --bootstrap … --topic … --partitions 20 --profile 0:100,60:1000,120:100
python -m bed.workload database --port … --rate 500
"""

from __future__ import annotations

import sys

from bed import consume, database, produce

_PROGRAMS = {"consume": consume.main, "produce": produce.main, "database": database.main}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in _PROGRAMS:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    _PROGRAMS[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()
