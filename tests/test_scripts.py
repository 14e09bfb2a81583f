"""The scripts say what they do, and what to do where something is missing; pip and the compiler are stand-ins here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import WAIT_S

ROOT = Path(__file__).parents[1]
SCRIPTS = [
    path
    for path in (*sorted((ROOT / "script").iterdir()), ROOT / ".ci" / "run")
    if path.is_file() and path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash")
]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for Linux and macOS")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_sound_and_stops_at_errors(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["lint", "run", "setup", "setup-ha", "test"])
def test_help_says_what_the_options_do_and_does_nothing_else(name: str) -> None:
    done = subprocess.run(
        [ROOT / "script" / name, "--help"], capture_output=True, text=True, check=True, timeout=WAIT_S
    )
    assert f"script/{name} [" in done.stdout
    assert "set -euo" not in done.stdout


@dataclass
class Checkout:
    """A copy of what script/setup needs, whose pip only writes down what it is asked for."""

    folder: Path
    environment: dict[str, str]

    @property
    def pip(self) -> list[str]:
        log = self.folder / "pip.log"
        return log.read_text().splitlines() if log.exists() else []

    def setup(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "script" / "setup", *options],
            capture_output=True, text=True, env=self.environment, check=False, timeout=120,
        )  # fmt: skip

    def tool(self, name: str, commands: str) -> None:
        """Put a program of this name before all others."""
        tools = self.folder / "tools"
        if not tools.exists():
            tools.mkdir()
            self.environment["PATH"] = f"{tools}:{self.environment['PATH']}"
        (tools / name).write_text(f"#!/bin/sh\n{commands}\n")
        (tools / name).chmod(0o755)

    def package(self, name: str, files: dict[str, str]) -> None:
        """Install a stand-in of a package."""
        for file, content in files.items():
            path = self.folder / "packages" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


_TORCH = """
__version__ = "2"
class version: cuda = {cuda}
class cuda: is_available = staticmethod(lambda: bool({cuda}))
"""
TORCH_CPU = {"__init__.py": _TORCH.format(cuda=None), "version.py": "cuda = None"}
TORCH_CUDA = {"__init__.py": _TORCH.format(cuda="'12.8'"), "version.py": "cuda = '12.8'"}
LLAMA_CPU = {"__init__.py": "__version__ = '0'\nllama_supports_gpu_offload = lambda: False"}
LLAMA_CUDA = {"__init__.py": "__version__ = '0'\nllama_supports_gpu_offload = lambda: True", "lib/libggml-cuda.so": ""}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    shutil.copytree(ROOT / "script", tmp_path / "script")
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # Everything but pip is the real interpreter, which sees nothing but the stand-ins.
    program = python.with_name("wyoming-superwhisper")
    python.write_text(f"""#!/bin/sh
if [ "$1" = -m ]; then
    shift
    echo "$* [$CMAKE_ARGS]" >>'{tmp_path}/pip.log'
    touch '{program}'
    chmod +x '{program}'
    exit 0
fi
PYTHONPATH='{tmp_path}/packages' exec '{sys.base_prefix}/bin/python3' -S "$@"
""")
    python.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CUDA_HOME": "/nowhere", "TMPDIR": str(tmp_path)}
    return Checkout(tmp_path, environment)


def test_a_cpu_set_up_installs_once_and_is_quick_the_second_time(checkout: Checkout) -> None:
    checkout.package("torch", TORCH_CPU)
    checkout.package("llama_cpp", LLAMA_CPU)
    first = checkout.setup("--cpu")
    assert first.returncode == 0, first.stdout + first.stderr
    assert checkout.pip == ["pip install -e .[all] []"]
    assert "llama.cpp by llama-cpp-python 0 (CPU build)" in first.stdout
    second = checkout.setup()
    assert second.returncode == 0
    assert "up to date (cpu)" in second.stdout
    assert len(checkout.pip) == 1
    (checkout.folder / "setup.cfg").write_text((checkout.folder / "setup.cfg").read_text() + "\n# changed\n")
    assert "up to date" not in checkout.setup().stdout
    assert len(checkout.pip) == 2


def test_a_fresh_cpu_set_up_says_how_long_the_long_parts_take(checkout: Checkout) -> None:
    done = checkout.setup("--cpu")
    # The stand-in for pip installs nothing, so that the check at the end fails.
    assert done.returncode == 1
    assert "downloading and installing torch 2.13.0" in done.stdout
    assert "compiling llama.cpp (once; 3 to 15 minutes" in done.stdout
    assert "took" in done.stdout
    assert checkout.pip[0].startswith("pip install torch==2.13.0")
    assert "-DGGML_CUDA=on" not in checkout.pip[1]
    assert "can't be loaded" in done.stderr


def test_a_cuda_set_up_without_a_toolkit_says_so_in_one_sentence(checkout: Checkout) -> None:
    checkout.package("torch", TORCH_CUDA)
    checkout.package("llama_cpp", LLAMA_CPU)
    done = checkout.setup("--cuda")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no CUDA toolkit (nvcc) was found") == 1
    assert done.stdout.count("the language model falls back to the CPU") == 1
    assert checkout.pip == ["pip install -e .[all] []"]


def test_a_cuda_set_up_builds_llama_for_the_card_from_source(checkout: Checkout) -> None:
    checkout.tool("nvcc", "")
    checkout.tool("nvidia-smi", 'case "$1" in -L) echo "GPU 0: RTX";; *) echo 8.6; echo 6.1;; esac')
    checkout.package("torch", TORCH_CPU)
    checkout.package("llama_cpp", LLAMA_CPU)
    done = checkout.setup("--auto")
    assert done.returncode == 0, done.stderr
    assert "the torch that is installed is a CPU build; replacing it" in done.stdout
    uninstall, torch, llama, rest = checkout.pip
    assert uninstall.startswith("pip uninstall -q -y torch")
    assert torch.startswith("pip install torch>=")
    assert "--no-binary llama-cpp-python" in llama
    assert "-DGGML_CUDA=on" in llama
    assert "-DCMAKE_CUDA_ARCHITECTURES=61;86" in llama
    assert rest.startswith("pip install -e .[all]")


def test_a_finished_cuda_set_up_is_left_alone_and_named(checkout: Checkout) -> None:
    checkout.package("torch", TORCH_CUDA)
    checkout.package("llama_cpp", LLAMA_CUDA)
    done = checkout.setup("--cuda")
    assert "speech recognition and language model will run on the card" in done.stdout
    assert "up to date (cuda)" in checkout.setup().stdout


def test_an_old_python_is_one_clear_sentence(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / ".venv")
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        checkout.tool(name, "exit 1")
    done = checkout.setup("--cpu")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed and was not found" in done.stderr


def test_an_unknown_option_is_one_clear_sentence(checkout: Checkout) -> None:
    done = checkout.setup("--gpu")
    assert done.returncode == 1
    assert done.stderr == "setup: unknown option --gpu; try script/setup --help\n"


def test_system_packages_are_never_installed_unasked(checkout: Checkout) -> None:
    checkout.tool("dpkg-query", "exit 1")
    for name in ("apt-get", "sudo"):
        checkout.tool(name, f"echo {name} $* >>'{checkout.folder}/apt.log'")
    checkout.package("torch", TORCH_CPU)
    checkout.package("llama_cpp", LLAMA_CPU)
    done = checkout.setup("--cpu")
    assert "apt-get install libportaudio2 libasound2-plugins pulseaudio" in done.stdout
    assert not (checkout.folder / "apt.log").exists()
    checkout.setup("--cpu", "--system")
    assert "install -qq -y --no-install-recommends libportaudio2" in (checkout.folder / "apt.log").read_text()


def test_no_registry_and_no_machine_is_named() -> None:
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        assert "://" not in text, script
        assert "/work" not in text, script


def test_the_last_lines_of_the_tests_say_which_run_has_failed_and_which_of_its_tests(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "script").mkdir()
    shutil.copy(ROOT / "script" / "test", tmp_path / "script")
    stand_ins = {
        "script/setup": "",
        ".venv/bin/python": 'case "$*" in (*" tests/satellite") echo "FAILED tests/test_x.py::test_y"; exit 3;; esac',
    }
    for name, commands in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{commands}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [tmp_path / "script" / "test"], capture_output=True, text=True, env=environment, check=False, timeout=WAIT_S
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-4:] == [
        "test: language model: passed",
        "test: everything else: passed",
        "test: satellites: FAILED (status 3)",
        "    FAILED tests/test_x.py::test_y",
    ]


TRIED = """
import pathlib
import pytest

@pytest.mark.parametrize("name", ["a - b", "b", "c", "d"])
def test_that(name):
    tries, first = pathlib.Path(name), {first!r}
    tries.write_text(tries.read_text() + "." if tries.exists() else ".")
    assert name not in first or len(tries.read_text()) > 1
    assert name != {always!r}
"""


@pytest.mark.parametrize(
    ("first", "always", "options", "status", "tries"),
    [
        (["a - b", "c"], "", ["--again"], 0, "2121"),  # what fails once is tried once more, and nothing else
        (["a - b"], "", [], 1, "1111"),  # not unless asked
        (["a - b"], "c", ["--again"], 1, "2121"),  # a defect fails again
        (["a - b", "b", "c", "d"], "", ["--again"], 1, "1111"),  # so many are no accident
    ],
)
def test_what_fails_may_be_tried_once_more(
    tmp_path: Path, first: list[str], always: str, options: list[str], status: int, tries: str
) -> None:
    for folder in ("script", "tests", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "script" / "test", tmp_path / "script")
    for program, command in (("script/setup", "exit 0"), (".venv/bin/python", f'exec "{sys.executable}" "$@"')):
        (tmp_path / program).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / program).chmod(0o755)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    long\n    system\n    gpu\n    home_assistant\n")
    (tmp_path / "tests" / "test_tried.py").write_text(TRIED.format(first=first, always=always))
    done = subprocess.run(
        [tmp_path / "script" / "test", *options, "tests/test_tried.py"],
        capture_output=True, text=True, check=False, timeout=WAIT_S,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "".join(str(len((tmp_path / name).read_text())) for name in ("a - b", "b", "c", "d")) == tries
    late = done.stdout.split("test: these tests: passed", 1)[1:]
    assert [line.count("ONLY AT THE SECOND TRY") for line in late] == ([len(first)] if not status else [])
