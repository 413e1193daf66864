"""Checks of deploy/kubernetes that no schema makes, for scripts/check-deploy: names that refer to each
other, times, settings, and that the real binaries answer the probes when started with them."""

import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
CLOSING = 2  # seconds that a stop may take beyond SHUTDOWN_GRACE
TIMEOUT = 30  # seconds
NOT_APPLIED = {"kustomization.yaml", "migrate.yaml"}


def main():
    binaries = Path(sys.argv[1])
    files = {path.name: list(yaml.safe_load_all(path.read_text())) for path in FOLDER.glob("*.yaml")}
    listed = files["kustomization.yaml"][0]["resources"]
    check(set(listed) == set(files) - NOT_APPLIED, f"kustomization.yaml lists {listed}")
    objects = [one for name, parts in files.items() if name != "kustomization.yaml" for one in parts]
    deployments = of_kind(objects, "Deployment")
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    settings = maps["producer"]
    for deployment in deployments:
        check_deployment(deployment, objects, settings)
    for workload in deployments + of_kind(objects, "Job"):
        check_image(workload)
    with tempfile.TemporaryDirectory() as folder:
        for deployment in deployments:
            check_settings_and_probes(container(deployment), settings, maps, binaries, Path(folder))
    print(f"deploy/kubernetes: {len(objects)} objects, and services and worker answer their probes")


def check(holds, message):
    if not holds:
        sys.exit(f"deploy/kubernetes: {message}")


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def container(workload):
    return workload["spec"]["template"]["spec"]["containers"][0]


def check_deployment(deployment, objects, settings):
    name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]
    labels, spec = pod["metadata"]["labels"], pod["spec"]

    def selects(selector):
        return bool(selector) and selector.items() <= labels.items()

    check(selects(deployment["spec"]["selector"]["matchLabels"]), f"{name} does not select its pods")
    for constraint in spec["topologySpreadConstraints"]:
        check(selects(constraint["labelSelector"]["matchLabels"]), f"{name}: topologySpreadConstraints")
    budgets = of_kind(objects, "PodDisruptionBudget")
    check(any(selects(one["spec"]["selector"]["matchLabels"]) for one in budgets), f"{name}: no budget")
    services = [one["spec"] for one in of_kind(objects, "Service") if selects(one["spec"]["selector"])]
    ports = {port["name"]: port["containerPort"] for port in container(deployment)["ports"]}
    expected = 0 if set(ports) == {"admin"} else 1  # nobody calls the worker
    check(len(services) == expected, f"{name}: {len(services)} services")
    targets = [port["targetPort"] for one in services for port in one["ports"]]
    check(set(targets) <= set(ports), f"{name}: the service's ports {targets}, the pod's {ports}")
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")
                if selects(one["spec"]["podSelector"]["matchLabels"])]
    open_ports = {port["port"] for one in policies for rule in one["ingress"] for port in rule["ports"]}
    check(set(ports.values()) <= open_ports, f"{name}: the network policy lacks one of {ports}")
    grace = int(settings["SHUTDOWN_GRACE"].removesuffix("s"))
    stop = grace + CLOSING
    if services:  # balancers need a moment to learn that the pod stops
        stop += container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    check(spec["terminationGracePeriodSeconds"] > stop, f"{name}: a stop may take {stop} s")


def check_image(workload):
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    image = container(workload)["image"]
    check(image.endswith(f":{version}"), f"{image} is not of version {version}")


def check_settings_and_probes(container, settings, maps, binaries, folder):
    """Starts the binary of a container with its settings, on an SQLite file."""
    name, binary = container["name"], (binaries / container["name"]).resolve()
    settings = settings | {one["name"]: one["value"] for one in container["env"]}
    help_text = subprocess.run([binary, "--help"], cwd=folder, env={}, capture_output=True, text=True, check=True)
    flags = re.findall(r"^ +--([a-z-]+)", help_text.stdout, re.M)
    known = {flag.upper().replace("-", "_") for flag in flags}
    check(set(settings) <= known, f"{name} has no settings {set(settings) - known}")
    url_file = folder / "url"
    url_file.write_text(f"sqlite://{folder}/producer.db\n")
    settings |= {"DATABASE_URL_FILE": str(url_file), "LOG_LEVEL": "error"}
    if "WORKER_CONFIG" in settings:
        file = folder / Path(settings["WORKER_CONFIG"]).name
        file.write_text(maps[name][file.name])
        settings["WORKER_CONFIG"] = str(file)
    process = subprocess.Popen([binary], cwd=folder, env=settings)
    try:
        for probe in ("livenessProbe", "readinessProbe"):
            eventually(lambda: answers(container, container[probe], binary, folder, settings),
                       f"{name}: the {probe} fails", process)
    finally:
        process.terminate()
        process.wait()


def answers(container, probe, binary, folder, settings):
    if "grpc" in probe:
        ports = [port["containerPort"] for port in container["ports"]]
        check(probe["grpc"]["port"] in ports, f"the probe's port is none of {ports}")
        return subprocess.run([binary, "healthcheck"], cwd=folder, env=settings, capture_output=True,
                              check=False).returncode == 0
    port = {one["name"]: one["containerPort"] for one in container["ports"]}[probe["httpGet"]["port"]]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{probe['httpGet']['path']}", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def eventually(holds, message, process):
    deadline = time.monotonic() + TIMEOUT
    while not holds():
        check(process.poll() is None, f"{message}: the service has ended")
        check(time.monotonic() < deadline, message)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
