"""What a reading means and what is to be done: pure functions from values to values. A map:

values, reasons         what flows through, and the words for it
history, tracks         what is remembered from poll to poll, of the group and of each partition
advance                 the history after one more observation; it calls all that learns:
  capacity, pace        what one replica can do, from saturated stretches and from processing time
  effect                whether the last up brought anything
  downs                 how smaller counts would have coped
decide                  from demand to decision; it calls
  signals, pattern      rates without chance, backlog, capacity
  waits, demand         the lag as a clock, and the count that keeps the promise
  levels, uneven        which counts help, and what each of them carries
  stuck, skew           partitions that more replicas cannot help
  limits                what stands between the demand and the decision
  diagnosis, backpressure   what a person is told
looks                   whether a jump is to be looked at again before the next poll
bundle                  all that decide() was given, as JSON and back
"""
