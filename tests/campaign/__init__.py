"""The fault campaign: scripted stories with and without faults, on a real API server and a real broker.

    make campaign [ROWS=A1,B2] [SEEDS=4] [RUNS=8]

A *story* (`stories.py`) changes the load or the resource and waits for the counts that must come of it. A *fault*
(`faults/`, a file for each letter of the checklist) is injected at a moment of the story that the seed chooses. Each
run has a namespace, an operator process, a Lease and a proxy to the API server of its own, so many run at the same
time. `judge.py` compares what came of it with runs of the same story without a fault: counts, scale writes and status
writes (by the API server's audit log), Events, the conditions at the end, what is left of a deleted resource.

How a row is written: a context manager that takes the `Run`, begins the fault, yields, and ends it; and an entry in
its file's `FAULTS`, with what it may change (`Expected`). All that is not named there must be as without the fault.

    @asynccontextmanager
    async def _server_gone(run: Run) -> AsyncIterator[None]:
        run.proxy.down()
        yield
        await run.proxy.up()

    FAULTS = (Fault("A1", "API server gone", _server_gone, seconds=(4, 8)),)

To be had of a run: `run.proxy` (rules for single requests, freeze, cut, down and up), `run.kafka` (the
same for the broker, by kinds of requests), `run.kept` (the operator: kill,
restarts, page), `run.site` (namespace, resource, target, topic), `run.chance` (the seed's), `run.outcome.happened` (set
it to False when the fault met nothing). What is to happen in a shared part, such as a broker's death, needs a part of
its own: give the fault its own `Kafka`, or do it with a `Site` of another broker.
"""
