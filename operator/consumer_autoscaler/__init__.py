"""consumer-autoscaler: keeps the consumers of a stream as many as they need to be.

The map of the house, a sentence for each room:

    resource/   what people write and read: spec, status, parsing, and the CRD made from them
    decision/   pure: values in, values out; advance() remembers, decide() decides
    sources/    reading the stream: consumer-group lag from Kafka, processing time from the consumers' metrics
    cluster/    the Kubernetes API: watching, scaling, the Lease, Events
    runtime/    one autoscaler's cycle, the fleet of them, metrics, settings, wiring
    simulation/ a load that was recorded, a modelled group, the decision and its peers against each other
    convert/    pure: from KEDA's ScaledObjects and from HPAs to resources
    cli/        a file for each subcommand; the same program is a plugin of kubectl

Where to start reading: `runtime/autoscaler.py` (the cycle, the whole story), then `decision/decide.py`.
"""

__version__ = "0.1.0"
