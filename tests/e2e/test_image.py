"""The image by itself: what it says, what is in it, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kind import images
from kind.cluster import Cluster
from kind.engine import DockerFailed, Engine

PYTHON = "/opt/consumer-autoscaler/bin/python"
MEBIBYTES_AT_MOST = 260  # most of it is the Kubernetes client
BARE = ("run", "--rm", "--network", "none", "--read-only")
LOOK = """
import importlib.util, json, os, ssl
tools = {"sh", "bash", "dash", "busybox", "apt", "apt-get", "dpkg", "cc", "gcc", "ld", "make", "pip", "pip3", "curl"}
found = [os.path.join(folder, name) for folder, _, names in os.walk("/") for name in names
         if name in tools and not folder.startswith(("/proc", "/sys", "/dev"))]
modules = [name for name in ("pip", "setuptools", "ensurepip") if importlib.util.find_spec(name)]
print(json.dumps({"tools": found, "modules": modules, "authorities": len(ssl.create_default_context().get_ca_certs())}))
"""


@pytest.fixture(scope="module")
def docker(cluster: Cluster) -> Engine:
    """The engine in which the suite's images are."""
    return cluster.engine


def test_it_says_what_it_can_do(docker: Engine) -> None:
    """`docker run IMAGE --help`, with nothing but the image."""
    said = docker.docker(*BARE, images.OPERATOR, "--help")
    assert said.startswith("usage: consumer-autoscaler")
    assert "run the operator" in said
    assert "--lease-duration-seconds" in docker.docker(*BARE, images.OPERATOR, "run", "--help")


def test_it_has_an_interpreter_and_certificates_and_no_tools(docker: Engine) -> None:
    """No shell, package manager, compiler or pip: what gets in finds nothing to go on with."""
    seen = json.loads(docker.docker(*BARE, "--entrypoint", PYTHON, images.OPERATOR, "-c", LOOK))
    assert (seen["tools"], seen["modules"]) == ([], [])
    assert seen["authorities"] > 100
    with pytest.raises(DockerFailed):
        docker.docker(*BARE, "--entrypoint", "/bin/sh", images.OPERATOR, "-c", "true")


def test_it_is_small_and_belongs_to_nobody(docker: Engine, record_property: Callable[[str, object], None]) -> None:
    """One layer, a numeric user that is not root, and a size that is looked at."""
    found = json.loads(docker.docker("image", "inspect", images.OPERATOR))[0]
    mebibytes = found["Size"] / 2**20
    record_property("mebibytes", round(mebibytes))
    print(f"the operator's image: {mebibytes:.0f} MiB")
    assert mebibytes < MEBIBYTES_AT_MOST
    assert found["Config"]["User"] == "10001:10001"
    assert len(found["RootFS"]["Layers"]) == 1
