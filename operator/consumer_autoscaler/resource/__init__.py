"""What people write and read: the spec, the status, and the CRD made from both.

spec_schema.py     the fields of `spec`, with bounds and words
schema_rules.py    rules stated once, for the API server and for reading
spec.py            parse(body) -> Resource, or InvalidSpec
status_schema.py   the fields of `status`
status.py          build(...) -> the status to write, and when to write it
memory.py          what a restart learns from a status
crd.py             the models -> CustomResourceDefinition
"""
