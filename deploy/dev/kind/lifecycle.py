"""The whole of it up, and down again; and whether that is a matter of a minute or two."""

from __future__ import annotations

from bed.fetch import PartUnavailable
from kind import broker, engine, images, nodeimage
from kind.cluster import CONTROL_PLANE, Cluster


def up() -> Cluster:
    """The cluster with this checkout's images in its nodes and a broker that serves."""
    docker = engine.engine()
    cluster = Cluster(docker)
    public = images.public_images(docker)
    built = images.build(docker, public=public)
    if not cluster.exists():
        cluster.create(public=public)
    cluster.load(built.kafka, nodes=(CONTROL_PLANE,))
    cluster.load(built.operator, built.next_operator, built.workload)
    broker.start(cluster, built.kafka)
    return cluster


def down() -> None:
    """Deletes the cluster and ends our own engine; images stay in the engine."""
    Cluster(engine.engine()).delete()
    engine.stop()


def not_ready() -> str:
    """Why `up` would take long or fail here; empty when all that it needs is there."""
    try:
        docker = engine.engine()
    except PartUnavailable as problem:
        return str(problem)
    nodes = docker.has_image(nodeimage.name()) or docker.has_image("kindest/node")
    if not (nodes and docker.has_image(images.KAFKA)):
        return "the images of the nodes and the broker are not in the engine yet; `make e2e` puts them there"
    return ""
