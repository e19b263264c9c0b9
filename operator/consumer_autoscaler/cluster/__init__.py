"""The Kubernetes API: what the operator sees of a cluster and does to it.

kube.py         the calls, typed; on transport.py (HTTP), credentials.py (who we are), errors.py
targets.py      what the targets look like now, from an own watch
secrets.py      Secrets that resources name: read by get only
watch.py        which resources exist: kopf, and a list that finds what kopf missed
lease.py        one writer at a time
events.py       Events for people, counted and limited
"""
