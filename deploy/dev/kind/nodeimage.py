"""A kind node image from Debian packages and the programs of `bed.parts`, where no image can be pulled.

The same names as `kubeadm config images list` gives are loaded into it, so the cluster starts without a registry.
Takes about two minutes when the programs are there; the result stays in the engine under a name with a hash of all
that it was made from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from bed import parts
from bed.fetch import PartUnavailable, progress, run, scratch
from bed.paths import cache
from kind import debian
from kind.engine import DockerFailed, Engine

_FILES = Path(__file__).parent / "node"
_CNI = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "containerd", "runc", "iptables", "nftables", "iproute2", "conntrack"),
    *("ethtool", "socat", "kmod", "procps", "ca-certificates", "hostname"),
)
_PROGRAMS = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kubeadm", "kube-proxy"),
    *("etcd", "coredns"),
)
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def name() -> str:
    """Under which the image is kept: changes with the version and with each file that it is made from."""
    content = b"".join(path.read_bytes() for path in [*sorted(_FILES.iterdir()), Path(__file__)])
    return f"e2e/node:v{parts.KUBERNETES_VERSION}-{hashlib.sha256(content).hexdigest()[:8]}"


def ensure(engine: Engine) -> str:
    """The image's name, built if it is not there yet; raises PartUnavailable or DockerFailed."""
    if engine.has_image(name()):
        return name()
    if not (_CNI / "bridge").exists():
        raise PartUnavailable(f"{_CNI}/bridge is missing: apt-get install containernetworking-plugins")
    programs = parts.ensure(*_PROGRAMS)
    base = debian.image(engine, "node-base", _PACKAGES)
    with scratch(cache() / "node-image") as folder, progress(f"node image {name()}"):
        images = _component_images(engine, programs, base, folder)
        _node(engine, programs, base, images["pause"], folder)
        _preload(engine, list(images.values()))
    return name()


def _component_images(engine: Engine, programs: dict[str, Path], base: str, folder: Path) -> dict[str, str]:
    """Images of the control plane's parts by the last part of their names, as kubeadm expects them."""
    programs = {**programs, "pause": _pause(folder)}
    command: list[str | Path]
    command = [programs["kubeadm"], "config", "images", "list", "--kubernetes-version", parts.KUBERNETES_VERSION]
    images = {full.rpartition("/")[2].partition(":")[0]: full for full in run(command, timeout_seconds=60).split()}
    for short, full in images.items():
        root = folder / short
        if short == "kube-proxy":  # calls nft
            root.mkdir()
            shutil.copy(programs[short], root / short)
            (root / "Dockerfile").write_text(f"FROM {base}\nCOPY {short} /usr/local/bin/{short}\n")
            engine.docker("build", "--quiet", "--tag", full, root, timeout_seconds=300)
            continue
        where = "" if short in ("pause", "coredns") else "usr/local/bin/"
        for needed in ("tmp", "etc", where):
            (root / needed).mkdir(parents=True, exist_ok=True)
        shutil.copy(programs[short], root / where / short)
        debian.import_folder(engine, root, full, _PATH, f'ENTRYPOINT ["/{where}{short}"]')
    return images


def _pause(folder: Path) -> Path:
    go = shutil.which("go")
    if go is None:
        raise PartUnavailable("Go is not installed: see https://go.dev/doc/install")
    command: list[str | Path]
    command = [go, "build", "-ldflags", "-s -w", "-o", folder / "pause-program", _FILES / "pause.go"]
    run(command, timeout_seconds=300, env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"})
    return folder / "pause-program"


def _node(engine: Engine, programs: dict[str, Path], base: str, pause: str, folder: Path) -> None:
    context = folder / "context"
    shutil.copytree(_FILES, context)
    settings = context / "containerd.toml"
    settings.write_text(settings.read_text().replace("PAUSE_IMAGE", pause))
    for place, sources in {
        "bin": [programs[tool] for tool in ("kubelet", "kubeadm", "kubectl")],
        "cni": [_CNI / plugin for plugin in _CNI_PLUGINS],
    }.items():
        (context / place).mkdir()
        for source in sources:
            shutil.copy(source, context / place)
    engine.docker(
        "build", "--quiet", "--tag", "e2e/node-without-images",
        "--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"KUBERNETES_VERSION={parts.KUBERNETES_VERSION}",
        context, timeout_seconds=300,
    )  # fmt: skip


def _preload(engine: Engine, images: list[str]) -> None:
    """Loads the images into the node's containerd and keeps the result as the node image."""
    container = engine.docker(
        "run", "--detach", "--network", "none", "--entrypoint", "sleep", "e2e/node-without-images", "infinity"
    ).strip()
    try:
        engine.docker("exec", "--detach", container, "containerd")
        _wait_for_containerd(engine, container)
        saved = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE, env=engine.environment)
        assert saved.stdout is not None
        with saved.stdout:
            engine.docker(
                "exec", "--interactive", container, "ctr", "--namespace", "k8s.io",
                "images", "import", "--all-platforms", "--no-unpack", "--digests", "-",
                stdin=saved.stdout, timeout_seconds=300,
            )  # fmt: skip
        if saved.wait(60):
            raise PartUnavailable(f"docker save failed with {saved.returncode}")
        engine.docker(
            "exec", container, "sh", "-c", "kill $(pidof containerd); while pidof containerd; do sleep 0.1; done"
        )
        engine.docker(
            "commit", "--change", 'ENTRYPOINT ["/usr/local/bin/entrypoint"]', "--change", "CMD []", container, name(),
            timeout_seconds=300,
        )  # fmt: skip
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def _wait_for_containerd(engine: Engine, container: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            engine.docker("exec", container, "ctr", "version")
            return
        except DockerFailed:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
