"""Secrets out of what is written: TFX logs the whole connection of its metadata store, password included."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from pipelines.metadata_server import libpq_quoted

PASSWORD_VARIABLE = "EDGEMILL_METADATA_PASSWORD"
_HIDDEN = "***"
# The text form of a protocol buffer, whatever its password is.
_PROTO_PASSWORD = re.compile(r'(password: )"(?:[^"\\]|\\.)*"')
# Anything shorter would be found in innocent words.
_SHORTEST = 4


def secrets_of(metadata_url: str) -> tuple[str, ...]:
    """The password of a metadata URL, and that of the environment, in all forms that logs may hold; longest first."""
    from google.protobuf.text_encoding import CEscape

    try:
        quoted = urlsplit(metadata_url).password or ""
    except ValueError:
        quoted = ""
    forms = set()
    for password in (unquote(quoted), os.environ.get(PASSWORD_VARIABLE, "")):
        for form in (password, libpq_quoted(password).strip("'")):
            forms |= {form, CEscape(form, as_utf8=True), CEscape(form, as_utf8=False), repr(form)[1:-1]}
    return tuple(sorted((form for form in {quoted, *forms} if len(form) >= _SHORTEST), key=len, reverse=True))


def hide(text: str, secrets: tuple[str, ...]) -> str:
    """The text with asterisks instead of every secret."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return _PROTO_PASSWORD.sub(rf'\1"{_HIDDEN}"', text)
