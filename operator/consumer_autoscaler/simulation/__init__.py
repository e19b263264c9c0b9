"""A modelled consumer group under a recorded load, scaled by the operator's own decision and by others' rules.

trace, prometheus: the load · world, fault_words: what the group is like and what goes wrong · group, turns, reading:
the group · ledger: how late each message was · policy, keda, scaled_object, flink, planner, oracle, scalers: who
scales · run: one of them against a load · history and its neighbours: a group's own past from Prometheus · report,
plot, command, arguments, option_values: what a person sees and says. Needs the extra `simulation` (numpy, and
matplotlib for pictures); the operator itself never imports it.
"""
