"""Secrets out of what is written: TFX logs the whole connection of its metadata store, password included."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from pipelines.runs.metadata_server import libpq_quoted

PASSWORD_VARIABLE = "EDGEMILL_METADATA_PASSWORD"
# What stands for an object store's user. Its clients do not log them: this is the second lock.
_KEY_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_HIDDEN = "***"
# `key` alone names too much that is none; an access key's id is none either, but belongs to one.
SECRET_WORDS = re.compile(r"passw|secret|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
# The text form of a protocol buffer, whatever its password is.
_PROTO_PASSWORD = re.compile(r'(password: )"(?:[^"\\]|\\.)*"')
# Anything shorter would be found in innocent words.
_SHORTEST = 4
# Amazon's have 40 characters; shorter ones are made up for a store that asks nobody's name: `test`, say.
_SHORTEST_KEY = 16


def secrets_of(metadata_url: str) -> tuple[str, ...]:
    """The password of a metadata URL, and the secrets of the environment, in all forms of logs; longest first."""
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
    """Whether an argument `--name=value` of a Beam pipeline holds a secret: logs tell these arguments."""
    name, _, value = argument.partition("=")
    return bool(SECRET_WORDS.search(name)) or has_password(value)


def has_password(url: str) -> bool:
    """Whether a text is a URL with a password, or may be one."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return True


def hide(text: str, secrets: tuple[str, ...]) -> str:
    """The text with asterisks instead of every secret."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return _PROTO_PASSWORD.sub(rf'\1"{_HIDDEN}"', text)
