"""model.py of the python backend, read as text: would Triton's Python take it? It is never run here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from waypost.release.preflight.findings import Finding, finding

MODEL_PY = "model.py"
_CLASS, _METHOD = "TritonPythonModel", "execute"
_GIVEN_BY_THE_STUB = {"triton_python_backend_utils", "c_python_backend_utils"}


def our_model_py() -> bytes:
    return resources.files("waypost.release").joinpath("triton_model.py").read_bytes()


def check_python_model(folder: Path, where: str, site_packages: Path | None) -> list[Finding]:
    """Findings about `folder/model.py`; `site_packages` is that of Triton's Python, None where it is not known."""
    path = folder / MODEL_PY
    if not path.is_file():
        return [finding("model-py-missing", where, "missing")]
    body = path.read_bytes()
    try:
        tree = ast.parse(body, MODEL_PY)
    except (SyntaxError, ValueError) as error:  # ValueError: NUL in it
        return [finding("model-py-syntax", where, f"{type(error).__name__}: {error}")]
    if not _has_class(tree):
        return [finding("model-py-class", where, f"no class {_CLASS} with {_METHOD}")]
    missing = sorted(_missing_imports(tree, folder, site_packages)) if site_packages else []
    if missing:
        return [finding("model-py-import", where, f"imports {', '.join(missing)}")]
    return (
        [] if body == our_model_py() else [finding("model-py-foreign", where, "it differs from the one of this image")]
    )


def _has_class(tree: ast.Module) -> bool:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == _CLASS]
    return any(isinstance(part, ast.FunctionDef) and part.name == _METHOD for node in classes for part in node.body)


def _missing_imports(tree: ast.Module, folder: Path, site_packages: Path) -> Iterator[str]:
    """The stub looks beside model.py, in its environment and in the standard library."""
    for name in {name for statement in tree.body for name in _imported(statement)}:
        known = name in sys.stdlib_module_names or name in _GIVEN_BY_THE_STUB
        if not known and not any(_has_module(place, name) for place in (folder, folder.parent, site_packages)):
            yield name


def _imported(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name.split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
        return [statement.module.split(".")[0]]
    return []


def _has_module(place: Path, name: str) -> bool:
    return (place / name).is_dir() or (place / f"{name}.py").is_file() or any(place.glob(f"{name}.*.so"))
