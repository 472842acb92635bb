"""Durability: an append-only journal, flushed once for many requests, replayed at start.

Why a log and not a database: every request, reads too, is one record (the auditor wants them all in
order), a request and what it did to the book are one line and therefore one atom, and one write
with one fdatasync carries everything that queued while the last one ran. A reply waits for its own
record; since records are in order, everything that a reply shows was durable before it. Replaying
100,000 orders takes a few seconds; no snapshots are needed at that size.

A line is `crc32 json\\n`. A torn last line was never answered and is cut off; a broken line before
the last means a damaged disk, and the venue refuses to start rather than forget.
"""

import asyncio
import os
import zlib
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import orjson

READ_CHUNK_BYTES = 1 << 20

Record = dict[str, Any]


class JournalDamaged(Exception):
    """A line in the middle of the journal is not what was written."""


def _encode(record: Record) -> bytes:
    body = orjson.dumps(record, default=str)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> Record | None:
    if len(line) < 10 or not line.endswith(b"\n"):
        return None
    body = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(body):
        return None
    record: Record = orjson.loads(body)
    return record


def _reach(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():  # whoever waited may have gone
        waiter.set_result(None)


class Journal:
    """One file, one writer. Requests have numbers 1, 2, ... and can be read back by number."""

    def __init__(self, path: Path, fsync: bool, on_broken: Callable[[OSError], None]) -> None:
        self._path = path
        self._fsync = fsync
        self._on_broken = on_broken
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._end = 0
        self._request_at = array("Q")  # where request n + 1 begins
        self._durable_requests = 0
        self._waiting: list[tuple[bytes, Callable[[], None] | None]] = []
        self._flushing = False
        self._broken = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @property
    def last_request(self) -> int:
        return len(self._request_at)

    def replay(self) -> Iterator[Record]:
        """Every record since the beginning; call once, before anything is appended."""
        with self._path.open("rb", buffering=READ_CHUNK_BYTES) as file:
            for line in file:
                record = _decode(line)
                if record is None:
                    if file.read(1):
                        raise JournalDamaged(f"{self._path} is damaged at byte {self._end}")
                    break
                self._note(record, len(line))
                yield record
        os.ftruncate(self._fd, self._end)
        os.fsync(self._fd)
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)  # the file's name is as durable as its contents
        os.close(folder)
        self._durable_requests = self.last_request

    def append(self, record: Record, done: Callable[[], None] | None = None) -> None:
        """Queue a record; `done` runs on the loop once it is durable, and never if it is not."""
        line = _encode(record)
        self._note(record, len(line))
        self._waiting.append((line, done))
        if not self._flushing and not self._broken:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def barrier(self) -> None:
        """Returns when everything appended so far is durable."""
        if not self._flushing:
            return
        reached = asyncio.get_running_loop().create_future()
        self._waiting.append((b"", partial(_reach, reached)))
        await reached

    async def requests(self, since: int) -> AsyncIterator[Record]:
        """Durable request records with a number above `since`, in order, yielding to the loop."""
        await self.barrier()
        last = self._durable_requests
        if since >= last:
            return
        with self._path.open("rb", buffering=READ_CHUNK_BYTES) as file:
            file.seek(self._request_at[since])
            read = 0
            for line in file:
                record = _decode(line)
                assert record is not None, "what is durable can be read back"
                if record["t"] != "request":
                    continue
                yield record
                if record["seq"] >= last:
                    return
                read += 1
                if read % 500 == 0:
                    await asyncio.sleep(0)

    def close(self) -> None:
        self._writer.shutdown(wait=True)
        os.close(self._fd)

    def _note(self, record: Record, size: int) -> None:
        if record["t"] == "request":
            self._request_at.append(self._end)
            assert record["seq"] == len(self._request_at), "request numbers have no gaps"
        self._end += size

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        reached = self.last_request
        if not batch:
            self._flushing = False
            return
        data = b"".join(line for line, _ in batch)
        written = asyncio.get_running_loop().run_in_executor(self._writer, self._write, data)
        written.add_done_callback(lambda future: self._flushed(future, batch, reached))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        if self._fsync and data:
            os.fdatasync(self._fd)

    def _flushed(
        self,
        future: "asyncio.Future[None]",
        batch: list[tuple[bytes, Callable[[], None] | None]],
        reached: int,
    ) -> None:
        if future.cancelled():
            return
        failure = future.exception()
        if failure is not None:
            self._broken = True
            assert isinstance(failure, OSError), failure
            self._on_broken(failure)
            return
        self._durable_requests = reached
        for _, done in batch:
            if done is not None:
                done()
        self._flush()
