from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from ml_metadata.proto import metadata_store_service_pb2 as service

from pipelines.storage.metadata_connection import connection_config, open_store
from pipelines.storage.postgres_store import BACKSLASH, STAND_IN, _replace, _sort

SEEN = "\N{REVERSE SOLIDUS OPERATOR}"


def test_every_string_is_exchanged_and_back_again() -> None:
    request = service.PutExecutionsRequest()
    execution = request.executions.add(name="a\\b", type_id=3)
    execution.properties["p\\"].string_value = '{"x": "\\"y\\""}'
    execution.custom_properties["n"].int_value = 92
    execution.custom_properties["s"].struct_value.fields["f"].list_value.values.add().string_value = "c\\d"
    before = request.SerializeToString(deterministic=True)
    _replace(request, BACKSLASH, STAND_IN)
    assert execution.name == "a\N{REVERSE SOLIDUS OPERATOR}b"
    assert (
        execution.properties["p\\"].string_value
        == '{"x": "\N{REVERSE SOLIDUS OPERATOR}"y\N{REVERSE SOLIDUS OPERATOR}""}'
    )
    assert execution.custom_properties["n"].int_value == 92
    assert execution.custom_properties["s"].struct_value.fields["f"].list_value.values[0].string_value == f"c{SEEN}d"
    _replace(request, STAND_IN, BACKSLASH)
    assert request.SerializeToString(deterministic=True) == before


def test_repeated_strings_are_exchanged() -> None:
    request = service.GetContextsByTypeRequest(type_name="x")
    request.options.filter_query = "a\\"
    names = service.GetArtifactTypesByExternalIdsRequest(external_ids=["a\\", "b"])
    for message in (request, names):
        _replace(message, BACKSLASH, STAND_IN)
    assert request.options.filter_query == f"a{SEEN}"
    assert list(names.external_ids) == [f"a{SEEN}", "b"]


def test_rows_are_put_in_order_of_their_ids() -> None:
    response = service.GetArtifactsByIDResponse()
    for number in (3, 1, 2):
        response.artifacts.add(id=number, uri=f"{number}")
        response.artifact_types.add(id=number)
    _sort(response)
    assert [(one.id, one.uri) for one in response.artifacts] == [(1, "1"), (2, "2"), (3, "3")]
    assert [one.id for one in response.artifact_types] == [3, 1, 2]


def test_other_stores_are_as_they_were(tmp_path) -> None:
    connection_config("postgres://me@db/mill")
    assert hasattr(metadata_store.MetadataStore._pywrap_cc_call, "patches_postgres")
    store = open_store(f"sqlite:{tmp_path}/m.sqlite")
    kind = store.put_context_type(mlmd.ContextType(name="k"))
    store.put_contexts([mlmd.Context(type_id=kind, name=f"a\\b{SEEN}c")])
    assert [context.name for context in store.get_contexts()] == [f"a\\b{SEEN}c"]
