"""A server on this machine that behaves as badly as it is told to, for tests of downloads."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """What lies at an address, and how it is given out.

    Attributes:
        data: the file.
        etag: its entity tag; empty for none.
        modified: its date; empty for none.
        ranges: whether a part of it can be asked for.
        checks: whether ``If-Range`` is heeded.
        skew: a part that is asked for begins so many bytes too early.
        cuts: how many bytes each of the next answers has before the server hangs up.
        stalls: keep the line open after a cut, and send nothing more.
        pause: seconds between pieces of 20,000 bytes.
        length: whether the number of bytes is told.
        statuses: what the next answers are instead of the file.
        kind: the content type.
        encoding: announced, though the bytes are sent as they are.
        elsewhere: another path, to which the server redirects.
    """

    data: bytes = b""
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True
    checks: bool = True
    skew: int = 0
    cuts: list[int] = field(default_factory=list)
    stalls: bool = False
    pause: float = 0.0
    length: bool = True
    statuses: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    encoding: str = ""
    elsewhere: str = ""


@dataclass
class Request:
    """What was asked for, and how many bytes of a file were sent."""

    path: str
    headers: dict[str, str]
    written: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def sent(self) -> int:
        """Bytes of the file, counted when the server is done (which may be after the client)."""
        assert self.over.wait(10)
        return self.written


class Server(ThreadingHTTPServer):
    """The server, with what lies where (``files``) and what was asked of it (``requests``)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, File] = {}
        self.requests: list[Request] = []
        self.over = threading.Event()

    def put(self, path: str, file: File) -> str:
        """Lay a file at a path and return its address."""
        self.files[path] = file
        return f"http://127.0.0.1:{self.server_port}{path}"


@contextmanager
def running() -> Iterator[Server]:
    """Yield a server that answers, until the block ends."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        request = Request(self.path, dict(self.headers))
        self.server.requests.append(request)
        try:
            self._answer(request)
        finally:
            request.over.set()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, request: Request) -> None:
        file = self.server.files.get(self.path)
        if file is None or file.statuses:
            self.send_error(404 if file is None else file.statuses.pop(0))
        elif file.elsewhere:
            self.send_response(302)
            self.send_header("Location", file.elsewhere)
            self.end_headers()
        else:
            self._give(file, request)

    def _give(self, file: File, request: Request) -> None:
        start = self._start(file)
        if start is not None and start >= len(file.data):
            self.send_error(416)
            return
        body = file.data[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            last = len(file.data) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(file.data)}")
        facts = {"Content-Type": file.kind, "ETag": file.etag, "Last-Modified": file.modified}
        facts["Content-Encoding"] = file.encoding
        facts["Content-Length"] = str(len(body)) if file.length else ""
        for name, value in facts.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        cut = file.cuts.pop(0) if file.cuts else None
        self._send(body[:cut], file, request)
        if cut is not None and file.stalls:
            self.server.over.wait(10)

    def _start(self, file: File) -> int | None:
        """Return the first byte of the part that is asked for and given; None gives all."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or not file.ranges:
            return None
        condition = self.headers.get("If-Range")
        if condition and file.checks and condition not in (file.etag, file.modified):
            return None
        return int(match[1]) - file.skew

    def _send(self, body: bytes, file: File, request: Request) -> None:
        for start in range(0, len(body), 20_000):
            piece = body[start : start + 20_000]
            try:
                self.wfile.write(piece)
            except OSError:  # the other side has had enough
                return
            request.written += len(piece)
            time.sleep(file.pause)
