"""Where the embedded stack keeps what: one folder, named by WAYPOST_LOCAL_DIR, that nobody else may enter.

Only paths and the two ways of writing a file here; what the files mean is known by the modules that write them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PartName = str  # postgres, aws, triton, gateway, worker
EMBEDDED_PARTS: tuple[PartName, ...] = ("postgres", "aws", "triton")
PROCESS_PARTS: tuple[PartName, ...] = ("gateway", "worker")
ALL_PARTS = EMBEDDED_PARTS + PROCESS_PARTS

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class Layout:
    root: Path  # absolute

    @classmethod
    def of(cls, local_dir: Path) -> Layout:
        return cls(local_dir.expanduser().resolve())

    @property
    def stack_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def folder_lock(self) -> Path:
        return self.root / "run" / "stack.lock"

    @property
    def message_keys_file(self) -> Path:
        return self.root / "secrets" / "message-keys.json"

    @property
    def signing_key_file(self) -> Path:
        return self.root / "secrets" / "release-signing-key.pem"

    @property
    def release_keys_file(self) -> Path:
        return self.root / "secrets" / "release-keys.pem"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def aws(self) -> Path:
        return self.root / "aws"

    @property
    def triton_backends(self) -> Path:
        return self.root / "triton" / "backends"

    @property
    def triton_models(self) -> Path:
        return self.root / "triton" / "models"

    def secret(self, name: str) -> Path:
        return self.root / "secrets" / f"{name}.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, part: PartName) -> Path:
        return self.logs / f"{part}.log"

    def pid_file(self, part: PartName) -> Path:
        return self.root / "run" / f"{part}.pid"

    def part_lock(self, part: PartName) -> Path:
        return self.root / "run" / f"{part}.lock"

    def published(self, part: PartName) -> Path:
        """Where the gateway and the worker write the address they listen on."""
        return self.root / "run" / f"{part}.json"

    @property
    def reasons(self) -> Path:
        """Where `waypost local run` writes how the status page may ask it for histories and reasons."""
        return self.root / "run" / "reasons.json"

    def create(self) -> None:
        """Make the folders. A folder that held something before keeps its mode; ours are private."""
        ours = not self.root.exists() or not any(self.root.iterdir())
        self.root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        if ours:
            self.root.chmod(PRIVATE_FOLDER)
        for name in ("run", "logs", "secrets", "aws", "triton", "triton/backends", "triton/models"):
            (self.root / name).mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
        (self.root / "secrets").chmod(PRIVATE_FOLDER)


def save_private(path: Path, content: str) -> None:
    """Replace `path` whole or not at all; only its owner may read it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
