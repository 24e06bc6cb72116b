"""The folder of a study: what was written, by whom, and whether it is still whole.

A manifest (`study.json`) holds the study's identity and the SHA-256 of every file that
the study wrote. Whatever else lies in the folder is foreign, whatever differs is
truncated or changed: both are named and nothing is overwritten.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "study.json"
_FORMAT = "anajax-study"
_VERSION = 1
_TEMPORARY = ".anajax-"


class Folder:
    """An open study folder; `Folder.open` checks it before any work."""

    def __init__(self, path: Path, identity: dict[str, Any], files: dict[str, str]):
        self.path = path
        self.identity = identity
        self.files = files

    @classmethod
    def open(
        cls, path: Path, identity: Mapping[str, Any], *, resume: bool = False
    ) -> "Folder":
        """Make the folder of a new study, or check that of one that goes on.

        Args:
            path: the folder.
            identity: what makes results the same bits: config, versions, inputs.
            resume: whether to go on with a study that was begun there.

        Raises:
            ValueError: if the folder is not empty and `resume` is false; if it holds
                another study, foreign or damaged files; if it cannot be written to.
        """
        _require_writable(path)
        asked = json.loads(json.dumps(dict(identity)))
        if all(p.name.startswith(_TEMPORARY) for p in path.iterdir()):
            folder = cls(path, asked, {})
            folder._save()
            return folder
        if not resume:
            raise ValueError(
                f"`--out` must be an empty folder: got {path}, which is not. "
                "Go on with the study in it with --resume, or name another --out."
            )
        folder = cls.read(path)
        _require_same(path, folder.identity, asked)
        return folder

    @classmethod
    def read(cls, path: Path) -> "Folder":
        """The folder of a study that was begun, with all files checked.

        Raises:
            FileNotFoundError: if it is no folder of a study.
            ValueError: if it holds foreign or damaged files.
        """
        if not (path / MANIFEST).is_file():
            raise FileNotFoundError(
                f"`DIR` must be the folder of a study: got {path} without {MANIFEST}. "
                "Name a folder that `anajax run` wrote, or another --out."
            )
        try:
            data = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            known = data["format"], data["version"]
            folder = cls(path, dict(data["identity"]), dict(data["files"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"`{path / MANIFEST}` must be a complete manifest: got {error!r:.200}. "
                "Begin again with another --out."
            ) from None
        if known != (_FORMAT, _VERSION):
            raise ValueError(
                f"`{path / MANIFEST}` must be {_FORMAT} of version {_VERSION}: got "
                f"{known}. Use the anajax that wrote it."
            )
        folder._check()
        return folder

    def write(self, name: str, content: bytes) -> Path:
        """Write a file all at once and enter it in the manifest.

        A run that is killed in between leaves the old file, none, or the new one.

        Raises:
            ValueError: if there is a file of this name that is not the study's.
        """
        target = self.path / name
        digest = hashlib.sha256(content).hexdigest()
        if target.exists() and name not in self.files:
            raise ValueError(
                f"`{target}` must be a file of this study: got a foreign one. "
                "Move it away, then go on with --resume."
            )
        target.parent.mkdir(exist_ok=True)
        temporary = _temporary(target, content)
        if self.files.get(name) != digest:
            target.unlink(missing_ok=True)  # else it would differ from the manifest
        self.files[name] = digest
        self._save()
        os.replace(temporary, target)
        return target

    def has(self, name: str) -> bool:
        """Whether the study has written this file."""
        return name in self.files and (self.path / name).is_file()

    def content(self, name: str) -> bytes:
        """What the file holds."""
        return (self.path / name).read_bytes()

    def _save(self) -> None:
        data = {
            "format": _FORMAT,
            "version": _VERSION,
            "identity": self.identity,
            "files": dict(sorted(self.files.items())),
        }
        text = json.dumps(data, indent=1) + "\n"
        write_atomically(self.path / MANIFEST, text.encode())

    def _check(self) -> None:
        for name in self.files:
            if (self.path / name).exists() and not (self.path / name).is_file():
                raise ValueError(
                    f"`{self.path / name}` must be a file of this study: got a folder. "
                    "Move it away, then try again."
                )
        for path in sorted(p for p in self.path.rglob("*") if p.is_file()):
            name = path.relative_to(self.path).as_posix()
            if path.name.startswith(_TEMPORARY):
                path.unlink()  # half a file of a run that was killed
            elif name != MANIFEST:
                self._check_file(path, name)

    def _check_file(self, path: Path, name: str) -> None:
        if name not in self.files:
            raise ValueError(
                f"`{path}` must be a file of this study: got a foreign one. Move it "
                "away, then try again."
            )
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.files[name]:
            raise ValueError(
                f"`{path}` must be as the study wrote it: got a truncated or changed "
                "file. Delete it; `anajax run --resume` makes it anew."
            )


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    os.replace(_temporary(path, content), path)


def _temporary(path: Path, content: bytes) -> str:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _require_writable(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path, prefix=_TEMPORARY)
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    except OSError as error:
        raise ValueError(
            f"`--out` must be a folder that can be written to: got {path} "
            f"({error.strerror}). Name another folder."
        ) from None


def _require_same(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    before, after = _flat(old), _flat(new)
    differing = [k for k in sorted(before | after) if before.get(k) != after.get(k)]
    if differing:
        changes = ", ".join(
            f"{k}: {before.get(k)!r} there, {after.get(k)!r} here"
            for k in differing[:3]
        )
        more = f", and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ValueError(
            f"`--resume` must go on with the same study: got another in {path} "
            f"({changes}{more}). Restore these, or name another --out."
        )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, list):
        data = dict(enumerate(data))
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        key: value
        for name, inner in data.items()
        for key, value in _flat(
            inner, f"{prefix}.{name}" if prefix else f"{name}"
        ).items()
    }
