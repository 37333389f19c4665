"""A release: what its manifest says and what lies there must be the same, and nothing in it may be code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from waypost.errors import CorruptObject
from waypost.model.signature import SIGNATURE_VERSION
from waypost.objects.bundle import MANIFEST, Manifest, check, parse_manifest
from waypost.release import lookups
from waypost.release.preflight.companions import check_companions, popular_version
from waypost.release.preflight.findings import Finding, cause_of, finding
from waypost.release.preflight.names import check_links, check_names, is_code
from waypost.release.preflight.onnx_model import Graph, check_model
from waypost.release.preflight.targets import TARGETS
from waypost.release.signing import NO_KEYS, TrustedKeys
from waypost.release.store import GOLDEN, LOOKUPS, MODEL, POPULAR, TOKENIZER

EVERY_RELEASE = (MODEL, LOOKUPS, TOKENIZER, GOLDEN, POPULAR)
_RELEASE_ID = re.compile(r"(\d{6,})-")  # the version, then what it was made of


def read_release_folder(directory: Path) -> dict[str, bytes]:
    """Every file that lies in a release folder, manifest included."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def check_release_folder(directory: Path, target: str, trusted: TrustedKeys = NO_KEYS) -> list[Finding]:
    links = list(check_links(directory))
    if links:
        return links
    files = read_release_folder(directory)
    findings = check_release(files, target, trusted)
    if any(found.code == "manifest-unreadable" for found in findings):
        return findings
    manifest = parse_manifest(files[MANIFEST], MANIFEST)
    return [*findings, *_check_unlisted(manifest, files), *_check_folder_name(manifest, directory)]


def check_release(files: Mapping[str, bytes], target: str, trusted: TrustedKeys = NO_KEYS) -> list[Finding]:
    """Findings about a release's files (manifest.json among them), without any Triton.

    Where the files are not those of the manifest, nothing more is said of them.
    """
    try:
        manifest = parse_manifest(files[MANIFEST], MANIFEST)
    except (CorruptObject, ArithmeticError) as error:  # a size of infinity
        return [finding("manifest-unreadable", MANIFEST, cause_of(error))]
    findings = [*_check_signature(manifest, trusted), *_check_files(manifest, files)]
    if findings:
        return findings
    named = {entry.path: files[entry.path] for entry in manifest.files}
    graph, of_model = check_model(named[MODEL], MODEL, TARGETS[target], target)
    findings = [*_check_facts(manifest), *of_model, *check_companions(named, graph)]
    return findings or list(_check_agreement(manifest, named, graph))


def _check_signature(manifest: Manifest, trusted: TrustedKeys) -> Iterator[Finding]:
    try:
        trusted.verify(manifest)
    except CorruptObject as error:
        yield finding("signature-wrong", MANIFEST, error.cause)


def _check_files(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Finding]:
    named = {entry.path for entry in manifest.files}
    yield from check_names([str(manifest.facts.get("release", "")), *sorted(named)])
    for path in sorted(set(EVERY_RELEASE) - named):
        yield finding("file-unnamed", path, "the manifest does not name it")
    for entry in manifest.files:
        if entry.path not in files:
            yield finding("file-missing", entry.path, "missing")
            continue
        try:
            check(entry, files[entry.path], "release")
        except CorruptObject as error:
            yield finding("digest-mismatch", entry.path, error.cause)
            continue
        if is_code(entry.path, files[entry.path]):
            yield finding("executable-file", entry.path, "the release holds code")


def _check_unlisted(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Finding]:
    named = {MANIFEST, *(entry.path for entry in manifest.files)}
    for path in sorted(set(files) - named):
        if is_code(path, files[path]):
            yield finding("executable-file", path, "code lies in the release")
        elif not path.startswith("."):
            yield finding("file-unlisted", path, "the manifest does not name it")


def _check_folder_name(manifest: Manifest, directory: Path) -> Iterator[Finding]:
    name, release = directory.resolve().name, str(manifest.facts.get("release"))
    if _RELEASE_ID.match(name) and name != release:
        yield finding("release-name", name, f"the manifest is of {release}")


def _check_facts(manifest: Manifest) -> Iterator[Finding]:
    facts = manifest.facts
    version, release = facts.get("version"), str(facts.get("release"))
    of_name = _RELEASE_ID.match(release)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        yield finding("release-version", MANIFEST, f"the version is {version!r}")
    elif of_name and int(of_name.group(1)) != version:
        yield finding("release-version", MANIFEST, f"release {release} has version {version}")
    if facts.get("signature_version", SIGNATURE_VERSION) != SIGNATURE_VERSION:
        what = f"version {facts['signature_version']} of model/signature.py, this is {SIGNATURE_VERSION}"
        yield finding("tensors-version", MANIFEST, what)


def _check_agreement(manifest: Manifest, files: Mapping[str, bytes], graph: Graph | None) -> Iterator[Finding]:
    """Between files that are each right by themselves."""
    facts = manifest.facts
    of_popular = popular_version(files[POPULAR])
    if of_popular != facts["version"]:
        yield finding("popular-version", POPULAR, f"version {of_popular}, the release {facts['version']}")
    for name, actual in (("ir_version", graph and graph.ir_version), ("opset", graph and graph.opset)):
        if name in facts and facts[name] != actual:
            yield finding("facts-model", MANIFEST, f"{name} {facts[name]}, in the model {actual}")
    sizes, said = lookups.from_bytes(files[LOOKUPS]).sizes, facts.get("sizes")
    if isinstance(said, dict):
        found = {"users": sizes.num_users, "posts": sizes.num_posts, "tags": sizes.num_tags}
        wrong = [
            f"{name} {said[name]}, in the files {found[name]}"
            for name in found
            if said.get(name, found[name]) != found[name]
        ]
        if wrong:
            yield finding("facts-sizes", MANIFEST, ", ".join(wrong))
