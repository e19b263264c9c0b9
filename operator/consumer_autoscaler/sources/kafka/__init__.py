"""Reading consumer groups from Kafka, for all resources of a cluster at once.

reader       who is read when: one schedule for each cluster and interval
reading      one shared reading, from the questions to the verdicts
coordinators, offsets, topology    the questions: positions and descriptions, ends and starts, who leads what
broker, brokers    the connections
access/      how a cluster is entered: TLS, logins, tokens, and why a broker refuses
wire/        the protocol: requests written and answers read, on bytes
groups/      the kinds of groups, and how many consumers of each can have work
lag/         from offsets to lag: what counts, what is doubted, what is told about it
inspection/  one look for a person: the `lag` command
"""
