"""What is installed: every package, the settings files and the demo models, and nothing heavy where it isn't wanted."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.waiting import WAIT_S

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wyoming_superwhisper"
DATA = {".yaml", ".json", ".npz", ".onnx", ".gguf", ".safetensors", ".wav", ".txt", ".typed"}
HEAVY = {"torch", "transformers", "llama-cpp-python", "piper-tts", "onnxruntime", "hassil", "huggingface-hub", "scipy"}


def requirements() -> dict[str, list[str]]:
    """The requirements of setup.cfg by extra; the base under ""."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {name: [line for line in text.split("\n") if line] for name, text in extras.items()}


def names(lines: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in lines}


def test_the_base_and_the_satellite_need_nothing_heavy() -> None:
    wanted = requirements()
    assert names(wanted[""]) & HEAVY == set()
    assert names(wanted["satellite"]) & HEAVY == set()
    assert {"server", "satellite", "dev", "all"} <= set(wanted)


def test_nothing_pins_torch_to_a_build() -> None:
    for lines in requirements().values():
        for line in lines:
            assert "==" not in line.partition(";")[0], line  # after the semicolon: on which systems
            assert "+cpu" not in line
            assert "@" not in line


def test_all_means_everything() -> None:
    assert {"wyoming-superwhisper"} == names(requirements()["all"])
    text = " ".join(requirements()["all"])
    assert all(f"[{extra}]" in text for extra in ("server", "satellite", "dev"))


def test_every_kind_of_data_file_is_packaged() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = [pattern.strip() for pattern in config["options.package_data"]["*"].split(",")]
    for path in data_files():
        assert any(path.match(pattern) for pattern in patterns), f"{path} would not be installed"


def test_the_links_at_the_root_lead_into_the_package() -> None:
    for name in ("handlers", "satellite", "config", "models"):
        link = ROOT / name
        if link.exists():  # a checkout without links (Windows) works as well
            assert link.is_symlink()
            assert str(link.readlink()) == f"wyoming_superwhisper/{name}"


def data_files() -> list[Path]:
    """Files of the package that are neither code nor traces of running it."""
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in files if path.suffix not in (".py", ".pyc", ".md")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout, so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(
        ".venv*", ".git", "__pycache__", "build", "dist", "*.egg-info", ".*_cache", ".work"
    )
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    # Not --outdir's temporary environment: what builds it is installed already.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from the wheel into an environment of its own that borrows only our dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    # As a path, not as a site folder: the editable install in there stays asleep.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True, capture_output=True)
    return folder / "bin" / "wyoming-superwhisper"


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packaged = set(archive.namelist())
    top = {name.partition("/")[0] for name in packaged}
    assert top == {"wyoming_superwhisper", next(name for name in top if name.endswith(".dist-info"))}
    expected = [*PACKAGE.rglob("*.py"), *data_files()]
    missing = {str(path.relative_to(ROOT)) for path in expected} - packaged
    assert not missing


def test_it_works_outside_the_checkout(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(*arguments: str) -> str:
        command = [str(program), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=WAIT_S).stdout

    assert run("--version").startswith("wyoming-superwhisper ")
    assert "whisper-large-v3" in run("models", "list")
    code = (
        "import wyoming_superwhisper; from wyoming_superwhisper.config.loader import load, Settings\n"
        "from wyoming_superwhisper.models.store import ModelStore\n"
        "settings = load(Settings, 'demo', {}); store = ModelStore('', None)\n"
        "store.whisper('demo'); store.llama('demo'); assert store.voices(settings.tts.voices)\n"
        "assert settings.home.areas\n"
        "print(wyoming_superwhisper.__file__)"
    )
    python = program.with_name("python")
    done = subprocess.run(
        [str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(program.parents[1]))
