"""The models in service, their versions, and their replacement while requests run.

A model is an exported folder, or a folder of versions (`1/`, `2/`, ...), each an exported folder.
A new version is loaded and tried before it is offered; the old one leaves when its last request is
answered. A folder that cannot be loaded changes nothing.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ppcls.errors import ConfigError, UserError
from ppcls.inference.model_dir import DESCRIPTION, STEM, Description
from ppcls.serving.errors import NotFound, Unavailable
from ppcls.serving.log import log
from ppcls.serving.metrics import Metrics
from ppcls.serving.model import ServedModel

#: What identifies the content of an exported folder: name, time and size of its files.
Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class _Version:
    model: ServedModel
    stamp: Stamp
    leases: int = 0
    is_retired: bool = False


@dataclass
class _Source:
    """One `--model_dir`."""

    name: str
    folder: Path
    versions: "dict[int, _Version]" = field(default_factory=dict)
    #: Content that was seen once and is loaded when it has not changed at the next look.
    seen: "dict[int, Stamp]" = field(default_factory=dict)
    #: Content that could not be loaded.
    failed: "dict[int, Stamp]" = field(default_factory=dict)


class Repository:
    """All models of a server.

    Args:
        model_dirs: `FOLDER` or `NAME=FOLDER` each. Without a name, an exported folder is called
            like its model, and a folder of versions like itself.
        load: makes the model of (name, version, folder).
        keep_versions: newest versions of a folder of versions that are served.
        metrics: counts loads.

    Raises:
        UserError: a folder cannot be served, or two have one name.
    """

    def __init__(
        self,
        model_dirs: Sequence[str],
        load: "Callable[[str, int, Path], ServedModel]",
        keep_versions: int,
        metrics: Metrics,
    ):
        self._load = load
        self._keep_versions = keep_versions
        self._metrics = metrics
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        for text in model_dirs:
            source = _parse(text)
            if source.name in self._sources:
                raise ConfigError(
                    f"two models are called '{source.name}'; name them: --model_dir NAME=FOLDER"
                )
            self._sources[source.name] = source
        for source in self._sources.values():
            for version, folder in _find_versions(source, keep_versions).items():
                self._offer(source, version, folder, _stamp(folder))
        self._stop = threading.Event()
        self._watcher: Optional[threading.Thread] = None

    @property
    def names(self) -> "list[str]":
        """Names of the models, the default one first."""
        return list(self._sources)

    def versions(self, name: str) -> "list[int]":
        """Versions in service, the oldest first.

        Raises:
            NotFound: no such model.
        """
        with self._lock:
            return sorted(self._source(name).versions)

    def index(self) -> "list[dict[str, str]]":
        """All models and versions, as the Open Inference Protocol lists them."""
        return [
            {"name": name, "version": str(version), "state": "READY", "reason": ""}
            for name in self.names
            for version in self.versions(name)
        ]

    @contextmanager
    def lease(
        self, name: Optional[str] = None, version: Optional[str] = None
    ) -> "Iterator[ServedModel]":
        """The model `name` (default: the first) in `version` (default: the newest), kept until the
        context is left.

        Raises:
            NotFound: no such model or version.
        """
        with self._lock:
            entry = self._find(name, version)
            entry.leases += 1
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.leases -= 1
                must_close = entry.is_retired and entry.leases == 0
            if must_close:
                self._close(entry)

    def refresh(self) -> None:
        """Looks for new, changed and removed versions.

        Changed content is loaded when two looks in a row find it the same, so that nobody loads a
        folder that is still being written.
        """
        for source in self._sources.values():
            found = _find_versions(source, self._keep_versions)
            for version, folder in found.items():
                stamp = _stamp(folder)
                known = source.versions.get(version)
                if (known and known.stamp == stamp) or source.failed.get(version) == stamp:
                    continue
                if source.seen.get(version) != stamp:
                    source.seen[version] = stamp
                    continue
                self._try(source, version, folder, stamp)
            # An old version leaves when all newer ones are in service, and never for nothing.
            if found and set(found) <= set(source.versions):
                for version in set(source.versions) - set(found):
                    self._retire(source, version)

    def watch(self, interval: float) -> None:
        """Calls `refresh` every `interval` seconds, in a thread, until `close`."""

        def run() -> None:
            while not self._stop.wait(interval):
                try:
                    self.refresh()
                except OSError as error:
                    log("cannot look for new models", logging.ERROR, reason=str(error))

        self._watcher = threading.Thread(target=run, name="model-watcher", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Ends the watch, answers what is queued, and stops all models."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        for source in self._sources.values():
            for version in list(source.versions):
                self._retire(source, version)

    def _source(self, name: Optional[str]) -> _Source:
        if name is None:
            return next(iter(self._sources.values()))
        if name not in self._sources:
            known = ", ".join(self._sources)
            raise NotFound(f"unknown model '{name[:80]}'; this server has: {known}")
        return self._sources[name]

    def _find(self, name: Optional[str], version: Optional[str]) -> _Version:
        source = self._source(name)
        if not source.versions:
            raise Unavailable(f"the model '{source.name}' has no version in service")
        if not version:
            return source.versions[max(source.versions)]
        number = int(version) if version.isascii() and version.isdigit() else None
        if number not in source.versions:
            known = ", ".join(map(str, sorted(source.versions)))
            raise NotFound(
                f"the model '{source.name}' has no version '{version[:80]}'; it has: {known}"
            )
        return source.versions[number]

    def _try(self, source: _Source, version: int, folder: Path, stamp: Stamp) -> None:
        try:
            self._offer(source, version, folder, stamp)
        # What an engine says about a broken file has no common class; the old version stays.
        except Exception as error:
            source.failed[version] = stamp
            self._metrics.loads.labels(source.name, "failed").inc()
            log(
                "model not loaded",
                logging.ERROR,
                error=None if isinstance(error, UserError) else error,
                model=source.name,
                version=version,
                reason=str(error),
            )

    def _offer(self, source: _Source, version: int, folder: Path, stamp: Stamp) -> None:
        model = self._load(source.name, version, folder)
        with self._lock:
            old = source.versions.get(version)
            source.versions[version] = _Version(model, stamp)
            source.failed.pop(version, None)
        self._metrics.loads.labels(source.name, "loaded").inc()
        log("model loaded", model=source.name, version=version, folder=str(folder))
        if old is not None:
            self._leave(old)

    def _retire(self, source: _Source, version: int) -> None:
        with self._lock:
            entry = source.versions.pop(version)
        self._metrics.admitted.remove(source.name, str(version))
        self._leave(entry)

    def _leave(self, entry: _Version) -> None:
        with self._lock:
            entry.is_retired = True
            is_idle = entry.leases == 0
        if is_idle:
            self._close(entry)

    def _close(self, entry: _Version) -> None:
        entry.model.close()
        log("model unloaded", model=entry.model.name, version=entry.model.version)


def _parse(text: str) -> _Source:
    name, separator, path = text.partition("=")
    if separator and not Path(text).exists():
        folder = Path(path)
    else:
        name, folder = "", Path(text)
    if not folder.is_dir():
        raise ConfigError(f"--model_dir {text}: there is no folder {folder}")
    is_export = (folder / DESCRIPTION).exists()
    if not is_export and not _numbered(folder):
        # Says how to make one.
        Description.read(folder)
    if not name:
        name = Description.read(folder).model_name if is_export else folder.resolve().name
    if not name or "/" in name:
        raise ConfigError(f"--model_dir {text}: a model's name must not be empty or hold '/'")
    return _Source(name, folder)


def _numbered(folder: Path) -> "dict[int, Path]":
    return {
        int(path.name): path
        for path in folder.iterdir()
        if path.name.isascii() and path.name.isdigit() and (path / DESCRIPTION).exists()
    }


def _find_versions(source: _Source, keep: int) -> "dict[int, Path]":
    """Version -> exported folder, of the newest `keep` versions."""
    if (source.folder / DESCRIPTION).exists():
        return {1: source.folder}
    numbered = _numbered(source.folder) if source.folder.is_dir() else {}
    return {version: numbered[version] for version in sorted(numbered)[-keep:]}


def _stamp(folder: Path) -> Stamp:
    files = sorted(folder.glob(f"{STEM}.*"))
    return tuple((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files)
