"""Nodes that cost nothing, for a launcher whose artifacts lie in an object store."""

from pathlib import Path

import boto3
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model


@component
def Writes(model: OutputArtifact[Model], empty: OutputArtifact[Model], text: Parameter[str]) -> None:
    """Writes two files, and nothing."""
    Path(model.uri, "inner").mkdir()
    Path(model.uri, "inner", "text").write_text(text)
    Path(model.uri, "more").write_text("more")
    model.set_string_custom_property("where", f"{model.uri}/inner")


@component
def Copies(source: InputArtifact[Model], copied: OutputArtifact[Model]) -> None:
    """Reads what `Writes` wrote, from the address in its property."""
    Path(copied.uri, "text").write_text(Path(source.get_string_custom_property("where"), "text").read_text())


@component
def Fails(source: InputArtifact[Model], half: OutputArtifact[Model]) -> None:
    """Fails with something written."""
    Path(half.uri, "half").write_text("half")
    raise ValueError("on purpose")


@component
def Exits(source: InputArtifact[Model], none: OutputArtifact[Model]) -> None:
    """Leaves as user code may."""
    raise SystemExit(0)


@component
def LosesTheBucket(source: InputArtifact[Model], lost: OutputArtifact[Model], bucket: Parameter[str]) -> None:
    """Leaves no bucket to put its output into."""
    Path(lost.uri, "lost").write_text("lost")
    client = boto3.client("s3")
    for one in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=one["Key"])
    client.delete_bucket(Bucket=bucket)
