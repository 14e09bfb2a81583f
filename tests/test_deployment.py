"""What is in deploy/, the Dockerfile and compose.yaml: read as the tools read them, and true to the program."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.waiting import WAIT_S
from wyoming_superwhisper import __version__
from wyoming_superwhisper.cli import main
from wyoming_superwhisper.config import checks, loader
from wyoming_superwhisper.config.settings import Settings

ROOT = Path(__file__).parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
ADDON = ROOT / "deploy" / "home-assistant-addon" / "wyoming_superwhisper"
STEPS = ADDON / "image-step"
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
DOCKERFILES = [ROOT / "Dockerfile", ADDON / "Dockerfile"]
MOST_EXPOSED = 2.5
"""Of systemd's own scale from 0 to 10, on which an ordinary service has 9."""


def tool(name: str) -> str:
    """Path of a program that may not be here."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=WAIT_S)


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def kubernetes(kind: str, name: str = "") -> dict[str, Any]:
    found = [one for path in KUBERNETES.glob("*.yaml") for one in documents(path) if one.get("kind") == kind]
    [only] = [one for one in found if not name or one["metadata"]["name"] == name]
    return only


# --- images


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    linted = run(tool("hadolint"), "--no-color", dockerfile)
    assert linted.returncode == 0, linted.stdout


def test_both_images_run_as_nobody_in_particular_and_know_whether_they_are_well() -> None:
    text = DOCKERFILES[0].read_text(encoding="utf-8")
    stages = {stage.split()[-1]: body for stage, body in re.findall(r"^FROM (.+)\n((?:(?!^FROM ).*\n)*)", text, re.M)}
    assert set(stages) == {"build-cpu", "build-cuda", "cpu", "cuda"}
    for target in ("cpu", "cuda"):
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stages[target], re.M)
        assert 'CMD ["wyoming-superwhisper", "health"]' in stages[target]
        assert "EXPOSE 10300 10301" in stages[target]
        assert re.findall(r"^COPY (.*)", stages[target], re.M) == [
            f"{STEPS.relative_to(ROOT)} /image-step",
            f"--from=build-{target} /opt/superwhisper /opt/superwhisper",
        ]
    assert "-DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES}" in stages["build-cuda"]
    assert "CUDA" not in stages["build-cpu"]


def test_images_are_built_with_the_torch_that_the_set_up_installs() -> None:
    [wanted] = re.findall(r"TORCH_CPU_VERSION:-([\d.]+)", (ROOT / "script" / "setup").read_text(encoding="utf-8"))
    assert re.findall(r"TORCH_VERSION:-([\d.]+)", STEPS.read_text(encoding="utf-8")) == [wanted]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_step_of_an_image_asks_for_what_it_should(dockerfile: Path, tmp_path: Path) -> None:
    """The steps themselves, with stand-ins for the programs that would install something."""
    log, tools = tmp_path / "log", tmp_path / "bin"
    tools.mkdir()
    for name in ("apt-get", "python3", "pip", "useradd", "rm"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" "$CMAKE_ARGS" >>{log}\n')
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "PREFIX": str(tmp_path), "TORCH_VERSION": "1.2.3"}
    environment |= dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.M))
    steps = re.findall(r"bash /image-step (.*?)(?:; done)?$", dockerfile.read_text(encoding="utf-8"), re.M)
    for step in steps:
        command = f'wheel=/wheel/ours.whl; bash "{STEPS}" {step}'
        subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=WAIT_S)
    asked = log.read_text().splitlines()
    torch = [line for line in asked if "torch==1.2.3" in line]
    llama = [line for line in asked if "llama-cpp-python==" in line]
    package = [line for line in asked if "wyoming-superwhisper[server,ctranslate2] @ file:///" in line]
    assert len(torch) == len(llama) == len(package) == steps.count("compilers") > 0
    assert all("--extra-index-url https://download.pytorch.org/whl/c" in line for line in torch)
    assert all("--no-binary" in line and "-DGGML_NATIVE=OFF" in line for line in llama)
    for line in llama:
        assert ("-DGGML_CUDA=on" in line) == ("-DCMAKE_CUDA_ARCHITECTURES=86" in line)
    system = [line.split()[4:] for line in asked if line.startswith("apt-get install")]
    assert all("=" in package for packages in system for package in packages), "each is held to a version"


def test_an_unknown_step_is_an_error() -> None:
    done = run("bash", STEPS, "nonsense")
    assert (done.returncode, done.stderr) == (1, "image-step: unknown step 'nonsense'\n")


def test_nothing_but_the_package_goes_into_an_image() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "wyoming_superwhisper", str(STEPS.relative_to(ROOT)),
    }  # fmt: skip


def test_compose_builds_targets_that_exist_with_settings_that_exist() -> None:
    [composed] = documents(ROOT / "compose.yaml")
    dockerfile = DOCKERFILES[0].read_text(encoding="utf-8")
    for name, service in composed["services"].items():
        assert f" AS {service['build']['target']}\n" in dockerfile
        for argument in service["build"].get("args", ()):
            assert f"ARG {argument}" in dockerfile
        assert service["profiles"] == [name], "nothing starts that nobody has chosen"
        loader.load(Settings, None, {key: str(value) for key, value in service.get("environment", {}).items()})
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(composed["volumes"])
    for name in ("cpu", "cuda"):
        server = composed["services"][name]
        assert server["read_only"]
        assert server["cap_drop"] == ["ALL"]
        assert server["security_opt"] == ["no-new-privileges:true"]
        assert int(server["stop_grace_period"].rstrip("s")) > 10, "it ends within ten seconds"


# --- systemd


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_the_unit_and_finds_it_well_closed(unit: Path, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    here = tmp_path / unit.name  # with a program that is there
    here.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.M))
    verified = run(analyze, "verify", "--man=no", here)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = run(analyze, "security", "--offline=true", "--no-pager", here)
    [exposure] = re.findall(r"Overall exposure level for .*: ([\d.]+)", rated.stdout)
    assert float(exposure) <= MOST_EXPOSED, rated.stdout


def test_the_unit_fits_the_program() -> None:
    unit = (ROOT / "deploy" / "systemd" / "wyoming-superwhisper.service").read_text(encoding="utf-8")
    assert "RestartPreventExitStatus=2" in unit, "wrong settings don't go away by themselves"
    assert "Type=notify" in unit
    assert "ExecReload=/bin/kill -HUP $MAINPID" in unit
    limits = Settings().limits
    [files] = re.findall(r"LimitNOFILE=(\d+)", unit)
    assert int(files) >= limits.connections + 64
    for variable in re.findall(r"Environment=(WYOMING_SUPERWHISPER_\S+)=(\S+)", unit):
        loader.load(Settings, None, dict([variable]))


# --- Kubernetes


def test_kustomize_puts_it_together() -> None:
    built = run(tool("kubectl"), "kustomize", KUBERNETES)
    assert built.returncode == 0, built.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(built.stdout)]
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= set(kinds)


def test_every_manifest_that_is_named_is_there() -> None:
    [kustomization] = documents(KUBERNETES / "kustomization.yaml")
    named = {*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"]}
    assert named == {path.name for path in KUBERNETES.glob("*.yaml")} - {
        "kustomization.yaml",
        "prometheus-adapter.yaml",
    }


def test_an_update_loses_no_utterance() -> None:
    deployment = kubernetes("Deployment")["spec"]
    settings = loader.load(Settings, KUBERNETES / "settings.yaml", {})
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = deployment["template"]["spec"]
    [container] = pod["containers"]
    pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    ready = container["readinessProbe"]
    assert pod["terminationGracePeriodSeconds"] > pause_s + settings.limits.stop_s + 5
    assert settings.limits.stop_s >= 20, "as long as a satellite may speak"
    assert pause_s > ready["periodSeconds"] * ready["failureThreshold"]


def test_pods_ask_for_a_card_and_are_probed_where_the_server_answers() -> None:
    settings = loader.load(Settings, KUBERNETES / "settings.yaml", {})
    [container] = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"]
    assert (
        container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == 1
    )
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.server.uri == f"tcp://0.0.0.0:{ports['wyoming']}"
    assert settings.metrics.listen == f"0.0.0.0:{ports['metrics']}"
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready",
    }  # fmt: skip
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]


def test_the_autoscaler_goes_by_a_figure_that_there_is() -> None:
    [metric] = kubernetes("HorizontalPodAutoscaler")["spec"]["metrics"]
    [adapter] = documents(KUBERNETES / "prometheus-adapter.yaml")
    [rule] = adapter["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"] == "wyoming_superwhisper_queue_length"
    metrics = (ROOT / "wyoming_superwhisper" / "operations" / "metrics.py").read_text(encoding="utf-8")
    assert '"queue_length"' in metrics


# --- Home Assistant add-on


@pytest.fixture(scope="module")
def addon() -> dict[str, Any]:
    [found] = documents(ADDON / "config.yaml")
    return found


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("addon_run", ADDON / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_addon_says_what_the_supervisor_wants_to_know(addon: dict[str, Any]) -> None:
    assert {"name", "version", "slug", "description", "arch"} <= set(addon)
    assert addon["version"] == __version__
    assert addon["slug"] == ADDON.name
    assert set(addon["options"]) == set(addon["schema"])
    assert addon["discovery"] == ["wyoming"]
    documented = (ADDON / "DOCS.md").read_text(encoding="utf-8")
    assert all(f"`{option}`" in documented for option in addon["options"])


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_option_of_the_addon_is_translated(addon: dict[str, Any], language: str) -> None:
    [translation] = documents(ADDON / "translations" / f"{language}.yaml")
    assert set(translation["configuration"]) == set(addon["options"])
    assert set(translation["network"]) == set(addon["ports"])


def test_options_of_the_addon_become_settings(addon: dict[str, Any], script: ModuleType) -> None:
    command = script.command(addon["options"])
    assert command[:2] == ["wyoming-superwhisper", "serve"]
    overrides = [loader.parse_assignment(part) for part in command[2:] if part != "--set"]
    settings = loader.load(Settings, None, {}, overrides)
    assert settings.asr.language == addon["options"]["language"]
    assert settings.llm.model == "off"
    assert not settings.server.zeroconf


def test_the_addon_downloads_what_it_is_asked_for_and_nothing_else(script: ModuleType) -> None:
    options = {"asr_model": "whisper-small", "llm_model": "off", "voice": "auto", "download": True}
    assert script.downloads(options)[2:] == ["download", "--models", "/data/models", "whisper-small"]
    assert script.downloads({**options, "asr_model": "auto"})[-1] == "auto"
    assert script.downloads({**options, "download": False}) == []
    assert main([*script.downloads(options)[1:], "--help"]) == 0


def test_services_of_the_settings_are_documented() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in checks.SERVICE_NAMES)
