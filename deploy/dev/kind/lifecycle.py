"""The whole of it up, and down again."""

from __future__ import annotations

from kind import broker, engine, images
from kind.cluster import Cluster


def up() -> Cluster:
    """The cluster with this checkout's images in its nodes and a broker that serves."""
    docker = engine.engine()
    cluster = Cluster(docker)
    public = images.public_images(docker)
    built = images.build(docker, public=public)
    if not cluster.exists():
        cluster.create(public=public)
    cluster.load(*built.all())
    broker.start(cluster, built.kafka)
    return cluster


def down() -> None:
    """Deletes the cluster and ends our own engine; images stay in the engine."""
    Cluster(engine.engine()).delete()
    engine.stop()
