"""A kind cluster of a control plane and two workers, with an audit log, and kubectl and Helm for it.

Brokers and whatever must not fail live on the control plane's node; operators and consumers on the workers, which
tests drain and cut off. With the node image of our own there is also the pods' network: a bridge on each node, and
on each node a route to the bridges of the others.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

import yaml

from bed import audit, parts
from bed.fetch import progress
from bed.paths import cache
from bed.processes import free_port
from kind import nodeimage
from kind.engine import Engine

NAME = "consumer-autoscaler-e2e"
WORKERS = (f"{NAME}-worker", f"{NAME}-worker2")
CONTROL_PLANE = f"{NAME}-control-plane"
_READ_SECONDS = 30.0
_AUDIT_LOG = "/var/log/kubernetes/audit.log"

# Unlike that of the test bed, a watch is there when it begins, as well as when it ends.
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""
_CONFIG = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: NAME
NETWORKING
nodes:
- role: control-plane
  extraMounts: [{hostPath: FOLDER/audit-policy.yaml, containerPath: /etc/kubernetes/audit/policy.yaml, readOnly: true}]
  extraPortMappings: [{containerPort: 30094, hostPort: BROKER_PORT, listenAddress: 127.0.0.1}]
- role: worker
- role: worker
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs:
    - {name: audit-policy-file, value: /etc/kubernetes/audit/policy.yaml}
    - {name: audit-log-path, value: AUDIT_LOG}
    extraVolumes:
    - {name: audit-policy, hostPath: /etc/kubernetes/audit, mountPath: /etc/kubernetes/audit, readOnly: true}
    - {name: audit-log, hostPath: /var/log/kubernetes, mountPath: /var/log/kubernetes, pathType: DirectoryOrCreate}
  etcd:
    local:
      extraArgs: [{name: unsafe-no-fsync, value: "true"}]
  # There is one of each, and one that waits for its own lease on a busy machine helps nobody.
  controllerManager:
    extraArgs: [{name: leader-elect, value: "false"}]
  scheduler:
    extraArgs: [{name: leader-elect, value: "false"}]
- |
  kind: InitConfiguration
  timeouts: {kubernetesAPICall: 5m0s}
- |
  kind: JoinConfiguration
  timeouts: {kubernetesAPICall: 5m0s}
"""
# cgroupfs at the root, because a container's systemd does not own what is above; the score is for lack of a capability.
_CONFIG_OF_OUR_NODE = """\
- |
  kind: KubeletConfiguration
  failCgroupV1: false
  cgroupDriver: cgroupfs
  cgroupRoot: /
  oomScoreAdj: 0
"""


class ClusterFailed(RuntimeError):
    """A command against the cluster failed or took too long; the message carries what it said."""


class Cluster:
    """One cluster by its fixed name; `create` makes it or takes the one that is there."""

    def __init__(self, engine: Engine, name: str = NAME) -> None:
        self.engine, self.name = engine, name
        self.folder = cache() / "kind" / name
        self.kubeconfig = self.folder / "kubeconfig"
        self._port_file = self.folder / "broker-port"

    @property
    def broker_port(self) -> int:
        """The port of this machine's loopback that leads to node port 30094."""
        return int(self._port_file.read_text())

    def exists(self) -> bool:
        return self.name in self._kind("get", "clusters", timeout_seconds=60).split()

    def create(self, *, public: bool) -> None:
        """Returns when all nodes are Ready; raises ClusterFailed or PartUnavailable."""
        node_image = None if public else nodeimage.ensure(self.engine)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "audit-policy.yaml").write_text(_AUDIT_POLICY)
        self._port_file.write_text(str(free_port()))
        config = _CONFIG
        for word, value in {
            "NAME": self.name,
            "FOLDER": str(self.folder),
            "AUDIT_LOG": _AUDIT_LOG,
            "BROKER_PORT": str(self.broker_port),
        }.items():
            config = config.replace(word, value)
        networking = "networking: {disableDefaultCNI: true, kubeProxyMode: nftables}" if node_image else ""
        (self.folder / "kind.yaml").write_text(
            config.replace("NETWORKING", networking) + (_CONFIG_OF_OUR_NODE if node_image else "")
        )
        with progress(f"kind cluster {self.name}"):
            image = ("--image", node_image) if node_image else ()
            self._kind("create", "cluster", "--config", self.folder / "kind.yaml", *image, timeout_seconds=600)
            if node_image:
                self._connect_pods()
            self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s", timeout_seconds=200)

    def delete(self) -> None:
        self._kind("delete", "cluster", "--name", self.name, timeout_seconds=600)

    def load(self, *images: str, nodes: tuple[str, ...] = WORKERS) -> None:
        """Puts images of the engine into these nodes; those that are there already, by what was loaded before, stay."""
        record = self.folder / "loaded.json"
        loaded: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
        ids = {image: self.engine.docker("image", "inspect", "--format", "{{.Id}}", image).strip() for image in images}
        missing = [image for image in images if loaded.get(image) != ids[image]]
        if missing:
            with progress(f"loading {len(missing)} images into the nodes"):
                where = ("--name", self.name, "--nodes", ",".join(nodes))
                self._kind("load", "docker-image", *where, *missing, timeout_seconds=900)
            record.write_text(json.dumps({**loaded, **ids}))

    def kubectl(self, *arguments: str | Path, input: str | None = None, timeout_seconds: float = 60.0) -> str:
        """What kubectl prints; raises ClusterFailed."""
        return _run([parts.program("kubectl"), "--kubeconfig", self.kubeconfig, *arguments], timeout_seconds, input)

    def read(self, path: str) -> str:
        """What the API server answers to a GET of this path; raises ClusterFailed. Quicker than a kubectl."""
        server, trust = self._access()
        try:
            with urllib.request.urlopen(server + path, timeout=_READ_SECONDS, context=trust) as answer:
                text: str = answer.read().decode()
                return text
        except urllib.error.HTTPError as error:
            raise ClusterFailed(f"GET {path}: {error.code} {error.read(300).decode(errors='replace')}") from error
        except OSError as error:
            raise ClusterFailed(f"GET {path}: {error}") from error

    def get(self, path: str) -> dict[str, Any]:
        """One object, or a list, by its path."""
        found: dict[str, Any] = json.loads(self.read(path))
        return found

    def helm(self, *arguments: str | Path, timeout_seconds: float = 240.0) -> str:
        """What Helm prints; raises ClusterFailed."""
        return _run([parts.program("helm"), "--kubeconfig", self.kubeconfig, *arguments], timeout_seconds)

    def on_node(self, node: str, *command: str, timeout_seconds: float = 60.0) -> str:
        """What a command prints that is run on a node; works also when the node is cut off from the network."""
        return self.engine.docker("exec", node, *command, timeout_seconds=timeout_seconds)

    def audit(self, since: float = 0.0, *, user: str | None = None) -> list[audit.Request]:
        """The requests that the API server has answered since then (seconds since the epoch), of one user or of all."""
        log = self.folder / "audit.log"
        chosen = f"grep -F '{user}' {_AUDIT_LOG} || true" if user else f"cat {_AUDIT_LOG}"
        log.write_text(self.on_node(CONTROL_PLANE, "sh", "-c", chosen, timeout_seconds=120))
        return audit.read_requests(log, since=since, user=user)

    def _access(self) -> tuple[str, ssl.SSLContext]:
        """Address and certificates of the kubeconfig that kind has written."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        trust = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        client = self.folder / "client.pem"
        parts = (user["client-certificate-data"], user["client-key-data"])
        client.touch(mode=0o600)
        client.write_bytes(b"".join(map(b64decode, parts)))
        trust.load_cert_chain(client)
        return cluster["server"], trust

    def _connect_pods(self) -> None:
        """The pods' network, and before it, as nothing starts until it is there, what CoreDNS asks for other names.

        That would be its node's resolver, which is Docker's and on the node's loopback: for CoreDNS, itself. The
        gateway answers nothing, and nothing outside has to be found.
        """
        gateway = self.on_node(CONTROL_PLANE, "ip", "-4", "route", "show", "default").split()[2]
        dns = {
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": [gateway]},
            "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
        }
        patch = json.dumps({"spec": {"replicas": 1, "template": {"spec": dns}}})
        self.kubectl("patch", "deployment", "coredns", "--namespace", "kube-system", "--patch", patch)
        nodes = {
            node["metadata"]["name"]: (
                node["spec"]["podCIDR"],
                next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"),
            )
            for node in self.get("/api/v1/nodes")["items"]
        }
        for name, (subnet, _) in nodes.items():
            script = [f"cat > /etc/cni/net.d/10-bridge.conflist <<'END'\n{json.dumps(_bridge(subnet))}\nEND"]
            script += [f"ip route replace {other} via {ip}" for n, (other, ip) in nodes.items() if n != name]
            self.on_node(name, "sh", "-euc", "\n".join(script))

    def _kind(self, *arguments: str | Path, timeout_seconds: float) -> str:
        environment = {**self.engine.environment, "KUBECONFIG": str(self.kubeconfig)}
        return _run([parts.program("kind"), *arguments], timeout_seconds, environment=environment)


def _bridge(subnet: str) -> dict[str, Any]:
    """A node's network for its pods. Between pods no address is changed, so that brokers see consumers' own."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _run(
    command: list[str | Path],
    timeout_seconds: float,
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin or "", capture_output=True, text=True, env=environment,
            timeout=timeout_seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ClusterFailed(f"{' '.join(words[:8])} … took longer than {timeout_seconds:.0f} s") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise ClusterFailed(f"{' '.join(words)[:300]} failed:\n" + "\n".join(said[-25:]))
    return done.stdout
