"""`deploy/kubernetes`: the Kustomize base and overlay and the Helm chart, rendered by kubectl and helm and checked by schema.

The configuration that they ship runs as a process, with the probes and the drain of its pod. kubernetes-validate has the schemas
of Kubernetes' own objects; the few fields of ServiceMonitor are compared with those of its definition by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support import (
    ROOT,
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    environment,
    fetch,
    free_port,
    reply,
    run_proxy,
    wait_until,
)
from tests.support.processes import session_members

KUBERNETES = ROOT / "deploy" / "kubernetes"
CHART = str(KUBERNETES / "chart")
EVERYTHING = [
    "--set", "autoscaling.enabled=false", "--set", "serviceMonitor.enabled=true", "--set", "service.type=LoadBalancer",
    "--set", "nodeSelector.disk=fast", "--set", "podAnnotations.a=b", "--set", "service.annotations.a=b",
    "--set", "extraFiles.more\\.conf=# more", "--set", "imagePullSecrets[0].name=key", "--set", "env[0].name=A,env[0].value=b",
    "--set", "tolerations[0].key=a,tolerations[0].operator=Exists", "--set", "extraVolumes[0].name=tls",
    "--set", "extraVolumes[0].secret.secretName=tls", "--set", "extraVolumeMounts[0].name=tls",
    "--set", "extraVolumeMounts[0].mountPath=/etc/tls",
]  # fmt: skip
RENDERED = {
    "base": ["kubectl", "kustomize", str(KUBERNETES / "base")],
    "overlay": ["kubectl", "kustomize", str(KUBERNETES / "overlays" / "example")],
    "chart": ["helm", "template", "wsgi-proxy", CHART],
    "chart with everything": ["helm", "template", "shop", CHART, *EVERYTHING],
}
Object = dict[str, Any]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl, which `make kubernetes-tools` puts beside Python."""
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"no {command[0]} on this system")
    return subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=120)


@cache
def rendered(name: str) -> tuple[Object, ...]:
    done = run(RENDERED[name])
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.safe_load_all(done.stdout) if found)


def of_kind(objects: tuple[Object, ...], kind: str) -> list[Object]:
    return [found for found in objects if found["kind"] == kind]


def one(objects: tuple[Object, ...], kind: str) -> Object:
    (found,) = of_kind(objects, kind)
    return found


@pytest.fixture(params=RENDERED)
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return rendered(request.param)


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_every_object_fits_its_schema(objects: tuple[Object, ...], version: str) -> None:
    for found in objects:
        if found["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(found, version, strict=True)
    kinds = {found["kind"] for found in objects}
    assert kinds >= {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"}


def test_a_wrong_object_does_not_fit() -> None:
    wrong = {**one(rendered("base"), "PodDisruptionBudget")}
    wrong["spec"] = {**wrong["spec"], "maxUnavailable": [1]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_objects_fit_together(objects: tuple[Object, ...]) -> None:
    deployment = one(objects, "Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    def selects_the_pods(selector: Object) -> bool:
        return bool(selector) and selector.items() <= labels

    assert selects_the_pods(deployment["spec"]["selector"]["matchLabels"])
    assert selects_the_pods(one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    for constraint in pod["spec"]["topologySpreadConstraints"]:
        assert selects_the_pods(constraint["labelSelector"]["matchLabels"])
    policy = one(objects, "NetworkPolicy")["spec"]
    assert selects_the_pods(policy["podSelector"]["matchLabels"])
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(ports)
    services = of_kind(objects, "Service")
    for service in services:
        assert selects_the_pods(service["spec"]["selector"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    # The metrics have no external address.
    assert [service["spec"].get("clusterIP") for service in services if "metrics" in service["metadata"]["name"]] == ["None"]
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert ("replicas" in deployment["spec"]) is not bool(of_kind(objects, "HorizontalPodAutoscaler"))
    assert pod["spec"]["serviceAccountName"] == one(objects, "ServiceAccount")["metadata"]["name"]
    volume = next(volume for volume in pod["spec"]["volumes"] if "configMap" in volume)
    assert volume["configMap"]["name"] == one(objects, "ConfigMap")["metadata"]["name"]
    text = one(objects, "ConfigMap")["data"]["nginx.conf"]
    assert {int(port) for port in re.findall(r"listen (\d+);", text)} == set(ports.values())


def test_a_pod_needs_no_rights(objects: tuple[Object, ...]) -> None:
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
    # A file mounted by subPath would never change.
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert "subPath" not in mounts["/etc/wsgi-proxy"] and {"/tmp", "/dev/shm"} <= set(mounts)


@pytest.mark.parametrize("name", ["overlay", "chart with everything"])
def test_the_metrics_are_read(name: str) -> None:
    """The fields are those of `monitoring.coreos.com/v1`: `selector`, and `port`, `path` and `interval` of an endpoint."""
    objects = rendered(name)
    monitor = one(objects, "ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1" and set(monitor["spec"]) == {"selector", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "interval"} and re.fullmatch(r"\d+s", endpoint["interval"])
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [found for found in of_kind(objects, "Service") if wanted <= found["metadata"]["labels"].items()]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert f"location = {endpoint['path']} {{ wsgi_proxy_status metrics; }}" in one(objects, "ConfigMap")["data"]["nginx.conf"]


def test_the_chart_and_the_base_are_the_same() -> None:
    def plain(value: Any) -> Any:
        """Return an object without the labels that each tool adds."""
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if not key.startswith(("app.kubernetes.io/", "helm.sh/"))}
        return [plain(each) for each in value] if isinstance(value, list) else value

    def by_name(name: str) -> dict[tuple[str, str], Object]:
        return {(found["kind"], found["metadata"]["name"]): plain(found) for found in rendered(name)}

    assert by_name("base") == by_name("chart")
    assert (KUBERNETES / "chart/files/nginx.conf").read_text() == (KUBERNETES / "base/nginx.conf").read_text()


@pytest.mark.parametrize(
    "setting", ["image.tga=1", "service.type=External", "containerPorts.http=0", "autoscaling.minReplicas=0", "statusUrl=status"]
)
def test_a_wrong_value_is_refused(setting: str) -> None:
    done = run(["helm", "template", CHART, "--set", setting])
    assert done.returncode != 0 and setting.partition(".")[0].partition("=")[0] in done.stderr


def test_the_chart_is_well_made() -> None:
    done = run(["helm", "lint", "--strict", CHART])
    assert done.returncode == 0, done.stdout + done.stderr
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    chart = yaml.safe_load((KUBERNETES / "chart/Chart.yaml").read_text())
    assert version is not None and chart["version"] == chart["appVersion"] == version[1]


# --- the pod as a process ----------------------------------------------------------------------------------------------------


@contextmanager
def pod(folder: Path, config: Path, backend: Recorder) -> Iterator[tuple[Running, int, int]]:
    """The shipped configuration as a process, with its ports for requests and for the status. Every server is the backend."""
    port, status = free_port(), free_port()
    text = (
        config.read_text().replace("listen 8080", f"listen 127.0.0.1:{port}").replace("listen 8081", f"listen 127.0.0.1:{status}")
    )
    text = re.sub(r"server [a-z-]+:8000", f"server {backend.address}", text)
    text = text.replace("redis://redis:6379/0", f"redis://127.0.0.1:{free_port()}/0")
    with run_proxy(text, folder, args=["-g", "daemon off;"] if os.environ.get("WORKER_CLASS") else []) as server:
        yield server, port, status


def command_of(container: Object, hook: str, status: int) -> list[str]:
    words: list[str] = container[hook]["exec"]["command"]
    assert words[0] == "wsgi-proxy"
    return [sys.executable, "-m", "wsgi_proxy", *[word.replace(":8081/", f":{status}/") for word in words[1:]]]


@pytest.mark.ours_alone("a pod runs the command")
@pytest.mark.parametrize("path", ["base/nginx.conf", "overlays/example/nginx.conf"])
def test_a_pod_serves_and_drains(path: str, tmp_path: Path) -> None:
    container = yaml.safe_load((KUBERNETES / "base/deployment.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]
    arrived, release = threading.Event(), threading.Event()

    def answer(request: Recorded, wire: Wire) -> bytes:
        if request.target == "/held":
            arrived.set()
            assert release.wait(60)
        return reply(request.target.encode())

    with Recorder(answer) as backend, pod(tmp_path, KUBERNETES / path, backend) as (server, port, status):
        assert fetch(port, "/a").text == "/a"
        assert fetch(status, "/metrics").text.startswith("# ")
        for hook in ("startupProbe", "readinessProbe", "livenessProbe"):
            subprocess.run(command_of(container, hook, status), env=environment(), check=True, capture_output=True, timeout=60)
        with Client(port) as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert arrived.wait(60)
            shell, flag, line = container["lifecycle"]["preStop"]["exec"]["command"]
            line = re.sub(r"sleep \d+", "sleep 0", line.replace("kill -QUIT 1;", f"kill -QUIT {server.pid};"))
            subprocess.run([shell, flag, line], check=True, timeout=60)
            wait_until(lambda: answers(command_of(container, "readinessProbe", status)) == 1, "the pod to be not ready")
            release.set()
            assert client.read_response().body == b"/held"
        server.process.wait(60)
        wait_until(lambda: not session_members(server.pid), "the last worker to end")


def answers(command: list[str]) -> int:
    return subprocess.run(command, env=environment(), capture_output=True, timeout=60).returncode
