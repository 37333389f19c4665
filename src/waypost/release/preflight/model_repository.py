"""A Triton model repository on disk: folders and names, then config, model and companions of every version."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from waypost.model.signature import MODEL_NAME, Sizes
from waypost.release.preflight.companions import check_companions
from waypost.release.preflight.config import CONFIG, backend_of, check_against_graph, check_config, read_config
from waypost.release.preflight.findings import Finding, finding
from waypost.release.preflight.names import check_links, check_names
from waypost.release.preflight.node import Node, check_gpus, check_python_backend
from waypost.release.preflight.onnx_model import Graph, check_model
from waypost.release.preflight.python_model import MODEL_PY, check_python_model
from waypost.release.preflight.targets import TARGETS
from waypost.release.store import GOLDEN, LOOKUPS, MODEL

PADDING = "padding.json"
_COMPANIONS = (LOOKUPS, GOLDEN)
_NOTHING_TO_COMPARE = ("config-ensemble", "config-backend", "config-platform")  # with the graph


def check_repository(directory: Path, target: str, node: Node) -> list[Finding]:
    folder = _model_folder(directory)
    if folder is None:
        return [_not_a_repository(directory)]
    links = [found for found in check_links(directory) if found.path.split("/")[0] == folder.name]
    if links:
        return links
    paths = sorted(str(path.relative_to(directory)) for path in folder.rglob("*"))
    return [*check_names(paths), *_check_model_folder(folder, target, node)]


def versions_of(folder: Path) -> list[Path]:
    """Version folders that Triton would load, oldest first."""
    return sorted((entry for entry in folder.iterdir() if entry.is_dir() and _is_version(entry.name)), key=_number)


def read_backend(folder: Path) -> str:
    """What the model's own config.pbtxt says; nothing where that cannot be read."""
    config, _ = read_config(folder / CONFIG, CONFIG)
    return backend_of(config) if config is not None else ""


def _model_folder(directory: Path) -> Path | None:
    """`recommender`, else the only model there is: it may have been called otherwise by mistake."""
    if (directory / MODEL_NAME).is_dir():
        return directory / MODEL_NAME
    models = [entry for entry in sorted(directory.iterdir()) if (entry / CONFIG).is_file()]
    return models[0] if len(models) == 1 else None


def _not_a_repository(directory: Path) -> Finding:
    if (directory / CONFIG).is_file():
        what = f"{directory.name} is a model's own folder, not the repository"
        return finding("not-a-repository", str(directory), what, "name the folder that holds it")
    return finding("not-a-repository", str(directory), f"no {MODEL_NAME}/{CONFIG} and no manifest.json")


def _check_model_folder(folder: Path, target: str, node: Node) -> list[Finding]:
    where = f"{folder.name}/{CONFIG}"
    config, findings = read_config(folder / CONFIG, where)
    findings += _check_versions(folder)
    graphs, of_models = _check_models(folder, target)
    findings += of_models
    if config is None:
        return findings
    findings += check_config(config, folder, where)
    if any(found.code in _NOTHING_TO_COMPARE for found in findings):
        return findings
    right = next(iter(graphs.values()), None)
    findings += check_against_graph(config, right, versions_of(folder), where)
    findings += check_gpus(config, node, where)
    if backend_of(config) == "python":
        findings += check_python_backend(config, node, folder, where)
        findings += _check_python_versions(folder, graphs, node)
    return findings


def _check_versions(folder: Path) -> list[Finding]:
    entries = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and _looks_like_a_version(entry)]
    findings = [
        finding("version-name", f"{folder.name}/{entry.name}", "not a positive number without leading zeros")
        for entry in entries
        if not _is_version(entry.name)
    ]
    if not entries:
        beside = f"; {MODEL} lies beside {CONFIG}" if (folder / MODEL).is_file() else ""
        findings.append(finding("version-missing", folder.name, f"no version folder{beside}"))
    for version in versions_of(folder):
        where = f"{folder.name}/{version.name}"
        if not any(version.iterdir()):
            findings.append(finding("version-empty", where, "empty"))
        elif not (version / MODEL).is_file():
            findings.append(finding("model-missing", f"{where}/{MODEL}", "missing"))
    return findings


def _looks_like_a_version(entry: Path) -> bool:
    """Triton ignores hidden folders; those of warm-up data and labels are named by the config, not by a number."""
    return not entry.name.startswith(".") and (
        entry.name.isdigit() or any((entry / name).exists() for name in (MODEL, MODEL_PY))
    )


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name != "0"


def _number(entry: Path) -> int:
    return int(entry.name)


def _check_models(folder: Path, target: str) -> tuple[dict[Path, Graph], list[Finding]]:
    """The graphs of the versions whose model nothing is wrong with, and what is wrong with the others."""
    graphs: dict[Path, Graph] = {}
    findings: list[Finding] = []
    for version in versions_of(folder):
        if not (version / MODEL).is_file():
            continue
        at = f"{folder.name}/{version.name}/"
        graph, of_model = check_model((version / MODEL).read_bytes(), at + MODEL, TARGETS[target], target)
        files = {name: (version / name).read_bytes() for name in _COMPANIONS if (version / name).is_file()}
        findings += [*of_model, *check_companions(files, graph, at)]
        if graph is not None and not of_model:
            graphs[version] = graph
    return graphs, findings


def _check_python_versions(folder: Path, graphs: dict[Path, Graph], node: Node) -> list[Finding]:
    site_packages = node.python.site_packages if node.python else None
    findings: list[Finding] = []
    for version in versions_of(folder):
        at = f"{folder.name}/{version.name}/"
        if any(version.iterdir()):
            findings += check_python_model(version, at + MODEL_PY, site_packages)
        if version in graphs:
            findings += _check_padding(version, graphs[version].sizes, at + PADDING)
    return findings


def _check_padding(version: Path, sizes: Sizes | None, where: str) -> list[Finding]:
    """padding.json must name the last row of each of the model's tables."""
    try:
        said = json.loads((version / PADDING).read_bytes())
    except (OSError, ValueError) as error:
        return [finding("padding-differs", where, f"cannot be read: {type(error).__name__}")]
    if sizes is None or said == asdict(sizes):
        return []
    return [finding("padding-differs", where, f"{said}, in the model {asdict(sizes)}")]
