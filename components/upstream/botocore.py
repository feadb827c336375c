"""botocore: the bodies of responses before a client reads them, for which there is no public event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import HTTPClientError

_FIRST_ERROR = 300


def replace_bodies(client: Any, replaced: Callable[[Any], Any]) -> None:
    """Make a function replace the body of every answer that the client reads as a whole: documents and errors.

    Args:
        client: A client of one service.
        replaced: Takes the body, and returns a replacement with the same method `stream`.
    """
    client._endpoint.http_session = _Session(client._endpoint.http_session, replaced)


class _Session:
    def __init__(self, session: Any, replaced: Callable[[Any], Any]) -> None:
        self._session, self._replaced = session, replaced

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def send(self, request: Any) -> Any:
        """Send a request. The session itself doesn't read the answer, so that its body can be replaced."""
        streams, request.stream_output = request.stream_output, True
        answer = self._session.send(request)
        if not streams or answer.status_code >= _FIRST_ERROR:
            answer.raw = self._replaced(answer.raw)
        if not streams:
            try:
                answer.content  # noqa: B018  (read and kept)
            except OSError as error:
                # The same error that the session itself raises, so that the request is repeated.
                raise HTTPClientError(error=error) from error
        return answer
