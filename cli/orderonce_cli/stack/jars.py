"""Kafka's jars: exactly those of the committed lock, checked byte by byte before every start.

The resolver checks nothing, so nothing is believed: jars are fetched by the coordinates in the
lock into a fresh folder, compared by sha256, and only then moved into the user's cache; and each
start compares the whole folder again. Making the lock is a separate act (`make lock`).
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import disk_problem

LOCK = Path(__file__).with_name("kafka-jars.lock")
# Resolved one by one: the resolver lets the first one's managed versions rule the other's.
ROOTS = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")
PARALLEL = 6  # downloads at once
DOWNLOAD_LIMIT_S = 900.0  # how long another checkout's download is waited for
HEADER = "# Every jar that runs Kafka, with its sha256. Made by `make lock`; do not edit.\n"


@dataclass(frozen=True)
class Jar:
    """One line of the lock: Maven coordinates and the digest of the file."""

    coordinates: str
    sha256: str

    @property
    def name(self) -> str:
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """The jars of the lock."""
    jars = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinates, digest = line.split(" sha256:")
            jars.append(Jar(coordinates, digest))
    return jars


def verify(folder: Path, jars: list[Jar]) -> None:
    """Refuse a folder that is not exactly the lock: missing, extra or different."""
    wanted = {jar.name: jar.sha256 for jar in jars}
    found = {path.name: path for path in folder.iterdir()}
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} does not belong there" for name in sorted(found.keys() - wanted.keys())]
    wrong += [
        f"{name} differs from the lock"
        for name in sorted(wanted.keys() & found.keys())
        if digest(found[name]) != wanted[name]
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise Problem(
            f"Kafka's jars in {folder} are not those of the lock, so Kafka is not started: "
            f"{'; '.join(wrong[:3])}{more}. Delete that folder to have them fetched again."
        )


def ensure(cache: Path, report: Callable[[str], None]) -> list[Path]:
    """The verified jars, fetched first if this user has none; one download at a time."""
    jars = read_lock()
    name = hashlib.sha256("\n".join(jar.sha256 for jar in jars).encode()).hexdigest()[:16]
    folder = cache / f"kafka-{name}"
    if not folder.exists():
        lock = FileLock(cache / "kafka.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report("waiting for another checkout that fetches Kafka's jars")
            lock.acquire(timeout=DOWNLOAD_LIMIT_S)
        try:
            if not folder.exists():
                report(f"fetching Kafka's {len(jars)} jars (about 45 MB, once per user)")
                _fetch(jars, cache, folder)
        except OSError as error:
            raise disk_problem(error, cache) from error
        finally:
            lock.release()
    verify(folder, jars)
    return [folder / jar.name for jar in jars]


def make_lock(path: Path = LOCK) -> int:
    """Resolve the roots anew and write the lock; gives the number of jars."""
    with tempfile.TemporaryDirectory(prefix="orderonce-lock-") as scratch:
        coordinates = sorted(_resolve(Path(scratch)))
        files = _download(coordinates, Path(scratch))
        jars = [Jar(c, digest(file)) for c, file in zip(coordinates, files, strict=True)]
    path.write_text(HEADER + "".join(f"{jar.coordinates} sha256:{jar.sha256}\n" for jar in jars))
    return len(jars)


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(jars: list[Jar], cache: Path, folder: Path) -> None:
    """Download into a fresh folder, verify, and only then give it its name. Under the lock."""
    for half in cache.glob("fetching-*"):  # of a download that was killed
        shutil.rmtree(half, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as scratch:
        files = _download([jar.coordinates for jar in jars], Path(scratch))
        fresh = Path(scratch) / "jars"
        fresh.mkdir()
        for jar, file in zip(jars, files, strict=True):
            shutil.move(file, fresh / jar.name)
        verify(fresh, jars)
        fresh.rename(folder)


def _download(coordinates: list[str], scratch: Path) -> list[Path]:
    """Fetch each jar by its coordinates; gives the files in the same order."""
    import requests
    import truststore

    truststore.inject_into_ssl()  # the system's certificates, not a bundled list
    context = _maven(scratch)

    def fetch(coordinate: str) -> Path:
        group, artifact, version = coordinate.split(":")
        return Path(context.project(group, artifact).at_version(version).artifact().resolve())

    try:
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                return list(pool.map(fetch, coordinates))
            finally:  # after the first failure the others would only wait for their time-outs
                pool.shutdown(wait=False, cancel_futures=True)
    except requests.exceptions.SSLError as error:
        raise Problem(
            "Kafka's jars could not be fetched: the server's certificate is not trusted here. "
            "Install the certificates of your system (ca-certificates), or name your proxy's "
            "certificate in SSL_CERT_FILE."
        ) from error
    except requests.exceptions.RequestException as error:
        raise Problem(
            "Kafka's jars could not be fetched: the Maven repository did not answer "
            f"({type(error).__name__}). The first start needs the network; try again."
        ) from error
    except RuntimeError as error:  # the resolver's word for "not found"
        raise Problem(f"Kafka's jars could not be fetched: {error}".splitlines()[0]) from error


def _resolve(scratch: Path) -> set[str]:
    """The coordinates of every jar that the roots need."""
    import os

    import truststore

    truststore.inject_into_ssl()
    os.environ["M2_REPO"] = str(scratch)  # the only way to tell `resolve` its folder
    import jgo

    found: dict[str, str] = {}
    for root in ROOTS:
        for artifact in jgo.resolve(root):
            if artifact.packaging == "jar":
                name = f"{artifact.groupId}:{artifact.artifactId}"
                found.setdefault(name, f"{name}:{artifact.version}")
    return set(found.values())


def _maven(scratch: Path) -> Any:  # the resolver has no type hints that mypy can see
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=scratch, remote_repos={"central": MAVEN_CENTRAL_URL})
