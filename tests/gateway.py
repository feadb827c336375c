"""A proxy in front of an object store's server, which makes it answer as the real store does, or fail as it can.

Neither moto nor the emulator of Google Cloud Storage checks a condition and writes in one step, and the emulator
ignores conditions and ranges. The gateway passes on one request at a time, checks Google's conditions before that, and
cuts a range out of a whole answer.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

# What happens to a request: passed on (None), dropped before or after that, answered with a status and a body, or
# answered with zeros that never end, with a flipped bit in the last byte, or with the first half of the content only.
Fault = str | tuple[int, str] | None
Answer = tuple[int, list[tuple[str, str]], bytes]
DROPPED, ANSWER_LOST, ENDLESS, FLIPPED, CUT = "dropped", "answer lost", "endless", "flipped", "cut"
_ENDLESS_PARTS = 200


class Gateway:
    """The proxy.

    Attributes:
        url: Its address.
        requests: Method and path of every request so far.
        bytes: Number of bytes in the bodies of requests and answers so far.
        sent: The line of every request that was answered, and the number of bytes in the body of the answer.
        fault: Called with the number of each request, from 0, and its line; says what happens to it.
        after: Called the same way after a request was passed on and before its answer.
        headers: More headers of the answers that faults give.
        ignored: Headers that the store doesn't know, in lowercase.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self.reset()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # which makes each answer wait for 40 ms

            def handle_any(self) -> None:
                gateway._handle(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        for method in ("GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"):
            setattr(Handler, f"do_{method}", Handler.handle_any)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: Any) -> None:
                pass  # clients that were killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def reset(self) -> None:
        """From now on pass on everything, and count from 0."""
        self.requests: list[str] = []
        self.bytes = 0
        self.sent: list[tuple[str, int]] = []
        self.fault: Callable[[int, str], Fault] = lambda number, line: None
        self.after: Callable[[int, str], None] = lambda number, line: None
        self.headers: list[tuple[str, str]] = []
        self.ignored: frozenset[str] = frozenset()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, asked: Any) -> None:
        declared = int(asked.headers.get("Content-Length") or 0)
        body = asked.rfile.read(declared)
        if len(body) < declared:  # The client was killed.
            asked.close_connection = True
            return
        line = f"{asked.command} {asked.path}"
        with self._lock:
            number = len(self.requests)
            self.requests.append(line)
            self.bytes += len(body)
        found = self.fault(number, line)
        if found == DROPPED:
            asked.close_connection = True
            return
        sent = {name: value for name, value in asked.headers.items() if name.lower() not in self.ignored}
        with self._lock:
            if isinstance(found, tuple):
                kind = "application/json" if found[1][:1] == "{" else "application/xml"
                answer: Answer = (found[0], [("Content-Type", kind), *self.headers], found[1].encode())
            elif self._condition_fails(asked.path, body):
                answer = (412, [("Content-Type", "application/json")], b'{"error": {"code": 412, "message": "other"}}')
            else:
                answer = _ranged(asked, self._passed_on(asked.command, asked.path, sent, body))
        self.after(number, line)
        if found == ANSWER_LOST:
            asked.close_connection = True
            return
        status, headers, content = answer
        asked.send_response(status)
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "content-length", "connection", "date", "server"}:
                asked.send_header(name, value)
        if found == FLIPPED:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if found == ENDLESS:
            self._send_zeros(asked)
            return
        length = {name.lower(): value for name, value in headers}.get("content-length")
        asked.send_header("Content-Length", length if asked.command == "HEAD" and length else str(len(content)))
        asked.end_headers()
        if found == CUT:
            content, asked.close_connection = content[: len(content) // 2], True
        if asked.command != "HEAD":
            self.bytes += len(content)
            self.sent.append((line, len(content)))
            asked.wfile.write(content)

    def _send_zeros(self, asked: Any) -> None:
        asked.close_connection = True
        asked.send_header("Connection", "close")
        asked.end_headers()
        # They do end, so that a client that reads on fails instead of filling the memory.
        for _ in range(_ENDLESS_PARTS):
            asked.wfile.write(bytes(1 << 20))

    def _passed_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() not in {"expect", "connection"}}
            connection.request(method, path, body or None, kept)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _condition_fails(self, path: str, body: bytes) -> bool:
        """Whether an object of Google's has another generation than the request names; 0 is that of no object."""
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        if "ifGenerationMatch" not in query:
            return False
        bucket = parts.path.split("/b/")[1].split("/")[0]
        if "/o/" in parts.path:
            name = parts.path.split("/o/")[1]
        else:
            named = query.get("name") or re.findall(r'"name": *"([^"]+)"', body.decode("latin-1"))
            name = quote(named[0], safe="")
        _, _, found = self._passed_on("GET", f"/storage/v1/b/{bucket}/o/{name}", {}, b"")
        generation = re.search(rb'"generation": *"(\d+)"', found)
        return query["ifGenerationMatch"] != [generation[1].decode() if generation else "0"]


def _ranged(asked: Any, answer: Answer) -> Answer:
    """Answer a request for the end of a file as every real store does."""
    status, headers, content = answer
    found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range") or "")
    if asked.command != "GET" or status != 200 or found is None:
        return answer
    start = int(found[1])
    if start >= len(content):
        return 416, [("Content-Range", f"bytes */{len(content)}")], b""
    return 206, [*headers, ("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")], content[start:]


@contextmanager
def gateway_to(upstream: str) -> Iterator[Gateway]:
    """A running gateway to a server."""
    gateway = Gateway(upstream)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
