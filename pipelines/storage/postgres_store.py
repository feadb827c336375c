"""Works around two problems of ML Metadata on PostgreSQL that make runs fail.

Backslashes: ML Metadata quotes a string with libpq's PQescapeLiteral, removes the first and last character, and adds
its own quotes. But libpq writes a string with a backslash as ` E'...'`, and the remainder is a syntax error. A
parameter with JSON in JSON, or an error message, then ends the run. So each backslash is replaced in the database with
a character that looks like it, and is restored when it is read.

Order: ML Metadata's queries have no ORDER BY. SQLite and MySQL still return rows by ID, but PostgreSQL returns the rows
that were changed last at the end. TFX requests artifacts by ID and matches them by position, so outputs from the
cache would get the wrong names. Therefore, rows are sorted by ID.
"""

from __future__ import annotations

from typing import Any

from components.upstream.ml_metadata import NativeCall, is_postgresql, surround_native_calls

BACKSLASH = "\\"
STAND_IN = "\N{REVERSE SOLIDUS OPERATOR}"
_MARK = "patches_postgres"
_ROWS = ("artifacts", "executions", "contexts")


def patch_postgres() -> None:
    """Fix every MetadataStore on PostgreSQL in this process, including TFX's own. Others are unchanged.

    There is no public hook for this: TFX creates its stores itself.
    """
    surround_native_calls(_MARK, _patched)


def _patched(original: NativeCall, store: Any, method: Any, request: Any, response: Any) -> None:
    if not is_postgresql(store):
        original(store, method, request, response)
        return
    if BACKSLASH.encode() in request.SerializeToString():
        copy = type(request)()
        copy.CopyFrom(request)
        _replace(copy, BACKSLASH, STAND_IN)
        request = copy
    original(store, method, request, response)
    if STAND_IN.encode() in response.SerializeToString():
        _replace(response, STAND_IN, BACKSLASH)
    # A request with options may specify an order.
    if "options" not in request.DESCRIPTOR.fields_by_name or not request.HasField("options"):
        _sort(response)


def _sort(response: Any) -> None:
    for field, value in response.ListFields():
        if field.name in _ROWS and field.label == field.LABEL_REPEATED and field.type == field.TYPE_MESSAGE:
            value.sort(key=lambda row: row.id)


def _replace(message: Any, old: str, new: str) -> None:
    """Replace a character in all strings of a protocol buffer, except keys of maps."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                _replace_in_map(field, value, old, new)
            elif field.label == field.LABEL_REPEATED:
                for item in value:
                    _replace(item, old, new)
            else:
                _replace(value, old, new)
        elif field.type == field.TYPE_STRING:
            if field.label == field.LABEL_REPEATED:
                value[:] = [item.replace(old, new) for item in value]
            else:
                setattr(message, field.name, value.replace(old, new))


def _replace_in_map(field: Any, value: Any, old: str, new: str) -> None:
    kind = field.message_type.fields_by_name["value"]
    for key in value:
        if kind.type == kind.TYPE_MESSAGE:
            _replace(value[key], old, new)
        elif kind.type == kind.TYPE_STRING:
            value[key] = value[key].replace(old, new)
