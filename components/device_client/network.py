"""HTTP for a device: every exchange ends, regardless of the server. Nothing that arrives is trusted.

A server can send its answer byte by byte, send more than requested, redirect endlessly, or ask the client
to come back in a year. Each of these would keep a device from detecting that its registry has expired.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from urllib3.connection import HTTPConnection, HTTPSConnection

CHUNK = 4_096
# An answer must begin within this time, and each of its chunks must arrive within this time.
CHUNK_SECONDS = 60.0
# A connection without a single byte for this long counts as lost.
_SOCKET_SECONDS = 30.0
_MOST_ATTEMPTS = 3
_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Network:
    """Connections to a registry, through the proxy that the environment variables select."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._managers: dict[str | None, urllib3.PoolManager] = {}

    def get(self, url: str, headers: Mapping[str, str] = _NOTHING) -> Answer:
        """Request a URL, and follow redirects. A different host gets no credentials, and a redirect can't drop TLS.

        Raises:
            DownloadError: There is no answer, or a redirect is invalid.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._ask("GET", url, headers)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            answer.close()
            target = _target(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = target
        raise DownloadError(f"the server redirects more than {_MOST_REDIRECTS} times")

    def post(self, url: str, form: Mapping[str, str]) -> Answer:
        """Send a form. Redirects aren't followed. Raises a DownloadError if there is no answer."""
        return self._ask("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(form))

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: str | None = None) -> Answer:
        sent = {"User-Agent": "edgemill-device", **headers}
        for attempt in range(_MOST_ATTEMPTS):
            watch = Watch(self._sockets)
            try:
                response = self._manager(url).request(
                    method,
                    url,
                    body=body,
                    headers=sent,
                    preload_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(_SOCKET_SECONDS),
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                late = watch.end()
                if late:
                    raise _too_slow() from error
                if attempt + 1 == _MOST_ATTEMPTS or isinstance(error, urllib3.exceptions.LocationValueError):
                    raise
            except BaseException:
                watch.end()
                raise
            else:
                return Answer(response, watch)
        raise AssertionError("the last attempt returns or raises")

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxies = {} if proxy_bypass(parts.netloc) else getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy not in self._managers:
            self._managers[proxy] = _watched(self._sockets, proxy)
        return self._managers[proxy]


class Answer:
    """The answer of a server: its status and headers, and its content chunk by chunk."""

    def __init__(self, response: urllib3.BaseHTTPResponse, watch: Watch) -> None:
        self._response, self._watch = response, watch
        self.status, self.headers = response.status, response.headers

    def succeeded(self) -> Answer:
        """Return this answer. Raises a DownloadHTTPError if it is an error, or a redirect without an address."""
        if not 200 <= self.status < 300:
            self.close()
            raise DownloadHTTPError(f"HTTP error occurred with status {self.status}", self.status)
        return self

    def chunks(self) -> Iterator[bytes]:
        """Yield the content as it was sent, not decompressed. Raises a SlowRetrievalError."""
        try:
            for chunk in self._response.stream(CHUNK, decode_content=False):
                self._watch.renew()
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if self._watch.late:
                raise _too_slow() from error
            raise
        finally:
            self.close()
        # An answer without a length ends when its connection does.
        if self._watch.late:
            raise _too_slow()

    def content(self, most: int) -> bytes:
        """Return the complete content. Raises a DownloadLengthMismatchError if it has more than `most` bytes."""
        content = b""
        for chunk in self.chunks():
            content += chunk
            if len(content) > most:
                raise DownloadLengthMismatchError(f"an answer has more than {most} bytes")
        return content

    def close(self) -> None:
        """Stop reading. The connection is reused only if the content is complete."""
        self._watch.end()
        self._response.close()
        self._response.release_conn()


class Watch:
    """Ends all connections if the next step of an exchange takes too long."""

    def __init__(self, sockets: weakref.WeakSet[socket.socket]) -> None:
        self._sockets, self._ended = sockets, threading.Event()
        self.late = False
        self.renew()
        threading.Thread(target=self._run, daemon=True).start()

    def renew(self) -> None:
        """Start the time limit of the next step."""
        self._deadline = time.monotonic() + CHUNK_SECONDS

    def end(self) -> bool:
        """Stop watching, and return whether a step took too long."""
        self._ended.set()
        return self.late

    def _run(self) -> None:
        while not self._ended.wait(max(0.0, self._deadline - time.monotonic())):
            if time.monotonic() < self._deadline:
                continue
            self.late = True
            for one in list(self._sockets):
                with suppress(OSError):  # It is already closed.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
            return


def _watched(sockets: weakref.WeakSet[socket.socket], proxy: str | None) -> urllib3.PoolManager:
    """A connection manager that keeps track of its sockets."""

    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class TlsConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    manager = urllib3.PoolManager() if proxy is None else urllib3.ProxyManager(proxy)
    manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return manager


def _target(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    except ValueError as error:
        raise DownloadError("the server redirects to an invalid address") from error
    if scheme not in {urlsplit(url).scheme, "https"} or not host:
        raise DownloadError(f"the server redirects from {urlsplit(url).scheme} to {scheme[:20]}")
    return target


def _too_slow() -> SlowRetrievalError:
    return SlowRetrievalError(f"fewer than {CHUNK:,} bytes arrived in {CHUNK_SECONDS:g} s")
