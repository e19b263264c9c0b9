"""A modelled consumer group under a recorded load, scaled by the operator's own decision and by others' rules.

trace, prometheus: the load · world, fault_words: what the group is like and what goes wrong · group, turns, reading:
the group · ledger: how late each message was · policy, keda, scaled_object, flink, planner, oracle: who scales · run:
one of them against a load · report, plot, command, arguments: what a person sees. Needs the extra `simulation` (numpy,
and matplotlib for pictures); the operator itself never imports it.
"""
