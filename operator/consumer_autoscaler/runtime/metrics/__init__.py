"""What Prometheus is told: made of all autoscalers when it asks.

Own tables rather than a gauge object for each number: nothing is updated on the way, the series of a resource go with
it, and a process that does not hold the Lease shows none.

    family.py     a name with its type, labels and meaning; the page of the documentation is made from these
    resource.py   the series of one resource
    process.py    the series of the operator's process
    meters.py     what the operator counts about itself on the way
    loop_lag.py   how long its event loop is held up
    page.py       the text, in slices, so that a scrape never holds up the loop
"""
