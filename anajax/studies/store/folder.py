"""The folder of a study: its files, their origin, and whether they are intact.

A manifest (`study.json`) holds the study's identity and the SHA-256 of every file that
the study wrote. Any other file in the folder is foreign, and any differing file is
truncated or changed: errors name them, and nothing is overwritten.
"""

import contextlib
import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from anajax._core import checks
from anajax._core.disk import (
    FULL,
    TEMPORARY,
    write_atomically,
    write_temporary,
    writing,
)
from anajax.studies.store import lock

MANIFEST = "study.json"
_FORMAT = "anajax-study"
_VERSION = 1
Resume = bool | Literal["auto"]
"""Whether to continue a study; "auto": start or continue it."""


class Folder:
    """An open study folder; `Folder.open` checks it before any work."""

    def __init__(self, path: Path, identity: dict[str, Any], files: dict[str, str]):
        self.path = path
        self.identity = identity
        self.files = files

    @classmethod
    def open(
        cls, path: Path, identity: Mapping[str, Any], *, resume: Resume = False
    ) -> "Folder":
        """Create the folder of a new study, or check that of a resumed one.

        No other process can open it until `close`.

        Args:
            path: the folder.
            identity: what determines the bits of the results: config, versions, inputs.
            resume: whether to continue the study in it.

        Raises:
            ValueError: if the folder is not empty and `resume` is false; if `resume` is
                true and there is no study; if it holds another study, foreign or
                damaged files; if it cannot be written to or another process is using
                it.
            WriteError: if the disk is full.
        """
        require_begun(path, resume)
        _require_writable(path)
        lock.take(path)
        try:
            return cls._open(path, json.loads(json.dumps(dict(identity))), resume)
        except BaseException:
            lock.release(path)
            raise

    @classmethod
    def _open(cls, path: Path, asked: dict[str, Any], resume: Resume) -> "Folder":
        if _is_empty(path):
            folder = cls(path, asked, {})
            write_atomically(path / MANIFEST, folder._text({}))
            return folder
        if not resume:
            raise ValueError(
                f"`--out` must be an empty folder: got {path}, which is not. "
                "Continue the study in it with --resume, or name another --out."
            )
        folder = cls.read(path)
        _require_same(path, folder.identity, asked)
        return folder

    def close(self) -> None:
        """Let other processes have the folder."""
        lock.release(self.path)

    @classmethod
    def read(cls, path: Path) -> "Folder":
        """The folder of an existing study, with all files checked.

        Raises:
            FileNotFoundError: if it is not the folder of a study.
            ValueError: if it holds foreign or damaged files.
        """
        require_study(path)
        try:
            data = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            known = data["format"], data["version"]
            folder = cls(path, dict(data["identity"]), dict(data["files"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"`{path / MANIFEST}` must be a complete manifest: got {error!r:.200}. "
                "Start again with another --out."
            ) from None
        if known != (_FORMAT, _VERSION):
            raise ValueError(
                f"`{path / MANIFEST}` must be {_FORMAT} of version {_VERSION}: got "
                f"{known}. Use the version of anajax that wrote it."
            )
        folder._check()
        return folder

    def write(self, name: str, content: bytes) -> Path:
        """Write a file atomically and enter it in the manifest.

        If a run is killed in between, the old file, none, or the new one is left.

        Raises:
            ValueError: if there is a file with this name that is not the study's.
            WriteError: if the file cannot be written; then nothing has changed.
        """
        target = self.path / name
        digest = hashlib.sha256(content).hexdigest()
        if target.exists() and name not in self.files:
            raise ValueError(
                f"`{target}` must be a file of this study: got a foreign one. "
                "Move it away, then continue with --resume."
            )
        if self.files.get(name) == digest and _holds(target, content):
            return target
        with writing(target):
            target.parent.mkdir(exist_ok=True)
            self._swap(self.files | {name: digest}, target, content)
        return target

    def remove(self, name: str) -> None:
        """Delete a file of the study, if it exists.

        Raises:
            WriteError: if the new manifest cannot be written.
        """
        if name in self.files:
            files = {n: digest for n, digest in self.files.items() if n != name}
            with writing(self.path / MANIFEST):
                self._swap(files, self.path / name, None)
            with contextlib.suppress(OSError):  # others are in it
                (self.path / name).parent.rmdir()

    def _swap(self, files: dict[str, str], target: Path, content: bytes | None) -> None:
        """A new manifest and a new file, or none; room for both is found first."""
        name = target.relative_to(self.path).as_posix()
        with contextlib.ExitStack() as undo:

            def temporary(path: Path, content: bytes) -> str:
                made = write_temporary(path, content)
                undo.callback(Path(made).unlink, missing_ok=True)
                return made

            new = None if content is None else temporary(target, content)
            manifest = temporary(self.path / MANIFEST, self._text(files))
            if self.files.get(name) != files.get(name):
                target.unlink(missing_ok=True)  # else it would differ from the manifest
            os.replace(manifest, self.path / MANIFEST)
            self.files = files
            if new is not None:
                os.replace(new, target)

    def has(self, name: str) -> bool:
        """Whether the study has written this file."""
        return name in self.files and (self.path / name).is_file()

    def content(self, name: str) -> bytes:
        """The content of the file."""
        return (self.path / name).read_bytes()

    def _text(self, files: dict[str, str]) -> bytes:
        data = {
            "format": _FORMAT,
            "version": _VERSION,
            "identity": self.identity,
            "files": dict(sorted(files.items())),
        }
        return f"{json.dumps(data, indent=1)}\n".encode()

    def _check(self) -> None:
        for name in self.files:
            if (self.path / name).exists() and not (self.path / name).is_file():
                raise ValueError(
                    f"`{self.path / name}` must be a file of this study: got a folder. "
                    "Move it away, then try again."
                )
        for path in sorted(p for p in self.path.rglob("*") if p.is_file()):
            name = path.relative_to(self.path).as_posix()
            if path.name.startswith(TEMPORARY):
                if path.name != lock.LOCK:
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


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def require_study(path: Path) -> None:
    """Refuse a folder without a study.

    Raises:
        FileNotFoundError: if it is not the folder of a study.
    """
    if not (path / MANIFEST).is_file():
        raise FileNotFoundError(
            f"`DIR` must be the folder of a study: got {path} without {MANIFEST}. "
            "Name a folder that `anajax run` wrote, or another --out."
        )


def check_resume(resume: Resume) -> None:
    """Refuse an unknown word.

    Raises:
        ValueError: naming the known ones.
    """
    if not isinstance(resume, bool):
        checks.word("resume", resume, ("auto",))


def require_begun(path: Path, resume: Resume) -> None:
    """Refuse to resume a study that does not exist; names folders with similar names.

    Raises:
        ValueError: if the folder is empty and `resume` is true.
    """
    check_resume(resume)
    if resume is not True or (path.is_dir() and not _is_empty(path)):
        return
    raise ValueError(
        f"`--resume` must continue an existing study: got {path}, which "
        f"{'is empty' if path.is_dir() else 'does not exist'}.{_alike(path)} Leave out "
        "--resume, or write --resume auto to start or continue."
    )


def _alike(path: Path) -> str:
    names = [p.parent.name for p in path.resolve().parent.glob(f"*/{MANIFEST}")]
    near = difflib.get_close_matches(path.resolve().name, names)
    here = [str(path.parent / name) for name in near]
    return f" Did you mean {' or '.join(here)}?" if here else ""


def _is_empty(path: Path) -> bool:
    return all(p.name.startswith(TEMPORARY) for p in path.iterdir())


def _require_writable(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path, prefix=TEMPORARY)
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    except OSError as error:
        if error.errno in FULL:
            with writing(path):
                raise
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
            f"`--resume` must continue the same study: got another in {path} "
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
