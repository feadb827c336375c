"""Google's client of Cloud Storage: its HTTP session, which has no public name."""

from __future__ import annotations

from typing import Any, cast

import requests


def session_of(client: Any) -> requests.Session:
    """Return the session that a client sends its requests with."""
    return cast(requests.Session, client._http)
