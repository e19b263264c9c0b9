"""A modelled consumer group under a recorded load, scaled by the operator's own decision and by others' rules.

trace: the load · world: what the group is like · group: the group · ledger: how late each message was ·
policy, keda, flink, oracle: who scales · run: one against the other · report, plot, command: what a person sees.
Needs the extra `simulation` (numpy, and matplotlib for pictures); the operator itself never imports it.
"""
