"""Two things that ML Metadata does otherwise on PostgreSQL, and that end runs there.

Backslashes: it quotes a string by libpq's PQescapeLiteral and cuts the first and the last character off, to put quotes
of its own around the rest. But libpq writes a string with a backslash as ` E'...'`, and what is left is a syntax error:
a parameter with JSON in JSON, or an error message, ends the run. So another character stands in the database for each
backslash, one that people read as a backslash, and is exchanged on the way in and out.

Order: its queries have no ORDER BY. SQLite and MySQL give rows by id all the same, PostgreSQL gives those last that
were changed last. TFX pairs artifacts that it asked for by id with what it asked for, by position: outputs from the
cache then come under each other's names. So rows are put in order of their ids.
"""

from __future__ import annotations

from typing import Any

from components.upstream.ml_metadata import NativeCall, is_postgresql, surround_native_calls

BACKSLASH = "\\"
STAND_IN = "\N{REVERSE SOLIDUS OPERATOR}"
_MARK = "mends_postgres"
_ROWS = ("artifacts", "executions", "contexts")


def mend_postgres() -> None:
    """Repair every MetadataStore on PostgreSQL in this process, TFX's own too; others are as they were.

    There is no public place for this: TFX makes its stores itself.
    """
    surround_native_calls(_MARK, _mended)


def _mended(original: NativeCall, store: Any, method: Any, request: Any, response: Any) -> None:
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
    # Who gives options may have asked for an order.
    if "options" not in request.DESCRIPTOR.fields_by_name or not request.HasField("options"):
        _sort(response)


def _sort(response: Any) -> None:
    for field, value in response.ListFields():
        if field.name in _ROWS and field.label == field.LABEL_REPEATED and field.type == field.TYPE_MESSAGE:
            value.sort(key=lambda row: row.id)


def _replace(message: Any, old: str, new: str) -> None:
    """Exchange a character in all strings of a protocol buffer, keys of maps excepted."""
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
