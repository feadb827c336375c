"""Redacts secrets in logs: TFX logs its metadata store's connection, including the password."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

PASSWORD_VARIABLE = "EDGEMILL_METADATA_PASSWORD"
# Credentials of object stores. The clients don't log them; this is a second safeguard.
_KEY_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_HIDDEN = "***"
# `key` alone matches too many names that aren't secrets. An access key's ID isn't a secret, but it accompanies one.
SECRET_WORDS = re.compile(r"passw|secret|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
# A password in the text format of a protocol buffer.
_PROTO_PASSWORD = re.compile(r'(password: )"(?:[^"\\]|\\.)*"')
# Shorter strings occur in ordinary words.
_SHORTEST = 4
# Amazon's keys have 40 characters. Shorter ones, such as `test`, are placeholders for stores without authentication.
_SHORTEST_KEY = 16


def secrets_of(metadata_url: str) -> tuple[str, ...]:
    """Return the password of a metadata URL and the environment's secrets, in all forms in logs, longest first."""
    from google.protobuf.text_encoding import CEscape

    try:
        quoted = urlsplit(metadata_url).password or ""
    except ValueError:
        quoted = ""
    forms = set()
    keys = (os.environ.get(name, "") for name in _KEY_VARIABLES)
    keys = (key for key in keys if len(key) >= _SHORTEST_KEY)
    for password in (unquote(quoted), os.environ.get(PASSWORD_VARIABLE, ""), *keys):
        for form in (password, libpq_quoted(password).strip("'")):
            forms |= {form, CEscape(form, as_utf8=True), CEscape(form, as_utf8=False), repr(form)[1:-1]}
    return tuple(sorted((form for form in {quoted, *forms} if len(form) >= _SHORTEST), key=len, reverse=True))


def has_secret(argument: str) -> bool:
    """Return whether a Beam pipeline's argument `--name=value` contains a secret. Logs contain these arguments."""
    name, _, value = argument.partition("=")
    return bool(SECRET_WORDS.search(name)) or has_password(value)


def has_password(url: str) -> bool:
    """Return whether a text is a URL with a password, or might be one."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return True


def may_hold_secret(address: str) -> bool:
    """Return whether a text is an address with a user or a query, which can contain keys. Messages don't repeat it."""
    return "://" in address and ("@" in address or "?" in address)


def hide(text: str, secrets: tuple[str, ...]) -> str:
    """Replace every secret in the text with asterisks."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return _PROTO_PASSWORD.sub(rf'\1"{_HIDDEN}"', text)


def libpq_quoted(value: str) -> str:
    """Quote a value for a PostgreSQL connection string, into which ML Metadata inserts it unchanged."""
    if re.fullmatch(r"[\w.@%+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
