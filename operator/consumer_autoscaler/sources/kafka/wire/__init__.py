"""Kafka's protocol: the requests that readings are made of, written and read on bytes."""
