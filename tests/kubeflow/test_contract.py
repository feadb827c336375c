import pytest

from kubeflow.contract import local_path, localize, publish, remote_uri, with_metadata

EXAMPLES = {"artifactType": {"instanceSchema": "title: tfx.Examples\ntype: object\n"}}
HTML = {"system.HTML": "kubeflow.pages.ui_component.HTML"}


def handed() -> dict[str, object]:
    return {
        "inputs": {
            "parameterValues": {"task": "a:B"},
            "artifacts": {
                "examples": {
                    "artifacts": [
                        {
                            "name": "7",
                            "uri": "s3://bucket/x/examples",
                            "type": {"instanceSchema": ""},
                            "metadata": {"origin": "s3://bucket/y", "span": 3.0},
                        }
                    ]
                }
            },
        },
        "outputs": {
            "artifacts": {
                "model": {"artifacts": [{"uri": "gs://b/run/model", "type": {"schemaTitle": "tfx.Model"}}]},
                "page": {"artifacts": [{"uri": "gs://b/run/page", "type": {"schemaTitle": "system.HTML"}}]},
                "executor-logs": {"artifacts": [{"uri": "gs://b/l", "type": {"schemaTitle": "system.Artifact"}}]},
            },
            "outputFile": "/tmp/out.json",
        },
    }


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/a/b", "/s3/bucket/a/b"),
        ("minio://bucket/a", "/minio/bucket/a"),
        ("gs://bucket/a", "/gcs/bucket/a"),
    ],
)
def test_uris_and_paths_map_both_ways(uri: str, path: str) -> None:
    assert (local_path(uri), remote_uri(path)) == (path, uri)
    assert (local_path(uri, "/scratch"), remote_uri(f"/scratch{path}", "/scratch")) == (f"/scratch{path}", uri)


def test_what_is_not_staged_stays() -> None:
    assert local_path("hdfs://x") == "hdfs://x"
    assert remote_uri("/home/s3/x") == "/home/s3/x"


def test_localized_inputs_have_their_types_and_lie_at_paths() -> None:
    found = localize(handed(), {"artifacts": {"examples": EXAMPLES}}, HTML)
    (artifact,) = found["inputs"]["artifacts"]["examples"]["artifacts"]
    assert artifact == {
        "name": "7",
        "uri": "/s3/bucket/x/examples",
        "type": EXAMPLES["artifactType"],
        "metadata": {"origin": "/s3/bucket/y", "span": 3.0},
    }


def test_outputs_of_the_backend_itself_are_left_out_and_ours_get_their_class() -> None:
    outputs = localize(handed(), {"artifacts": {"examples": EXAMPLES}}, HTML)["outputs"]["artifacts"]
    assert list(outputs) == ["model", "page"]
    assert outputs["page"]["artifacts"][0]["type"]["instanceSchema"].startswith(
        "title: kubeflow.pages.ui_component.HTML\n"
    )


def test_published_outputs_are_uris_again_in_properties_too() -> None:
    made = {
        "artifacts": {"model": {"artifacts": [{"uri": "/gcs/b/run/model", "metadata": {"from": "/s3/b/x", "n": 1}}]}}
    }
    (artifact,) = publish(made, handed())["artifacts"]["model"]["artifacts"]
    assert artifact == {"uri": "gs://b/run/model", "metadata": {"from": "s3://b/x", "n": 1}}


def test_an_output_that_lies_elsewhere_is_refused() -> None:
    made = {"artifacts": {"model": {"artifacts": [{"uri": "/tmp/model"}]}}}
    with pytest.raises(ValueError, match="is at /tmp/model, but Kubeflow looks for it at gs://b/run/model"):
        publish(made, handed())


def test_properties_of_a_driver_are_merged_into_outputs() -> None:
    localized = localize(handed(), {"artifacts": {"examples": EXAMPLES}}, HTML)
    driven = {
        "artifacts": {"model": {"artifacts": [{"uri": "", "metadata": {"span": 4.0}}]}},
        "parameterValues": {"span": 4.0},
    }
    merged = with_metadata(localized, driven)
    assert merged["outputs"]["artifacts"]["model"]["artifacts"][0]["metadata"] == {"span": 4.0}
    assert merged["inputs"]["parameterValues"] == {"task": "a:B", "span": 4.0}
