"""An ExampleGen executor for examples that Edgemill makes: from images, audio, arrays, and functions."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import json_format
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.core.errors import DataError, counted
from components.facts.left_out import LEFT_OUT, LEFT_OUT_PROPERTY, MOST_NAMED, LeftOut
from components.ingest.listing import Item, files_of, items
from components.ingest.media import UnreadableError
from components.ingest.parquet import to_example
from components.ingest.rows import check_share, labeled, row_of, rows
from components.ingest.sources import check_sources, configuration_in, description_in
from components.spec.examples import AudioSource, ImageSource, MadeSplits

_LOG = logging.getLogger(__name__)
# Key of the custom configuration, a JSON object, for a `MadeSplits`.
MADE = "made"
_UNREADABLE = "unreadable"
# Files in the artifact that Beam workers write, until the executor moves their content to a property.
_LEFT_OUT_FILES = "left_out-*.json"


class MadeExecutor(BaseExampleGenExecutor):
    """ExampleGen executor for a `MadeSplits` in the custom configuration."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:
        """See the base class. Fails if the files changed in the meantime. Records those that were left out."""
        artifact = artifact_utils.get_single_instance(output_dict["examples"])
        self._place = artifact.uri
        super().Do(input_dict, output_dict, exec_properties)
        _record_left_out(artifact)
        description = description_in(exec_properties.get("custom_config") or "")
        if description:
            folder, made = Path(exec_properties["input_base"]), _made(exec_properties)
            patterns = [split["pattern"] for split in json.loads(exec_properties["input_config"])["splits"]]
            check_sources(folder, files_of(made.source, folder, patterns), description)

    def GenerateExamplesByBeam(self, pipeline: Any, exec_properties: dict[str, Any]) -> dict[str, Any]:
        """See the base class. Hashed splits have a seed, which the base class lacks."""
        made, folder = _made(exec_properties), Path(exec_properties["input_base"])
        given = json_format.Parse(exec_properties["input_config"], example_gen_pb2.Input())
        output = json_format.Parse(exec_properties["output_config"], example_gen_pb2.Output())
        buckets = [(split.name, split.hash_buckets) for split in output.split_config.splits]
        if not buckets:
            return {
                split.name: pipeline
                | split.name >> _Examples(made, folder, split.name, split.pattern, self._place, hashed=False)
                for split in given.splits
            }
        [split] = given.splits
        examples = pipeline | "all" >> _Examples(made, folder, split.name, split.pattern, self._place, hashed=True)
        parts = examples | "split" >> beam.Partition(split_of, len(buckets), [n for _, n in buckets], made)
        return {name: part for (name, _), part in zip(buckets, parts, strict=True)}

    def GetInputSourceToExamplePTransform(self) -> Any:
        """See the base class, which calls this only in a method that is overridden here."""
        raise NotImplementedError


def split_of(example: tf.train.Example, _count: int, buckets: list[int], made: MadeSplits) -> int:
    """The index of an example's split. It depends only on the example, or its feature, and the seed.

    Raises:
        DataError: The example lacks the feature.
    """
    held = example.features.feature
    if made.feature is not None and made.feature not in held:
        raise DataError(
            f"the splits are hashed by the feature {made.feature!r}, which an example lacks",
            where="examples.splits.feature",
            bound=", ".join(sorted(held)),
            remedy="specify a feature that every example has",
        )
    key = example if made.feature is None else held[made.feature]
    digest = hashlib.sha256(f"{made.source.split_seed}:".encode() + key.SerializeToString(deterministic=True)).digest()
    place = int.from_bytes(digest, "big") % sum(buckets)
    return next(index for index in range(len(buckets)) if place < sum(buckets[: index + 1]))


def _made(exec_properties: dict[str, Any]) -> MadeSplits:
    return MadeSplits.model_validate(configuration_in(exec_properties["custom_config"])[MADE])


@beam.typehints.with_output_types(tf.train.Example)
class _Examples(beam.PTransform):
    """The tf.Examples of a split."""

    def __init__(self, made: MadeSplits, folder: Path, split: str, pattern: str, place: str, *, hashed: bool) -> None:
        super().__init__()
        self._place = place
        self._made, self._folder, self._split, self._pattern, self._hashed = made, folder, split, pattern, hashed

    def expand(self, pipeline: Any) -> Any:
        """See the base class."""
        made, source = self._made, self._made.source
        if not isinstance(source, ImageSource | AudioSource):
            start = pipeline | beam.Create([(str(self._folder), self._split, self._pattern)])
            return start | beam.FlatMap(_all_rows, made, hashed=self._hashed)
        found = items(source, made.label, self._folder, self._pattern)
        read = (
            pipeline
            # Plain values, because versions of Beam differ in how they encode named tuples.
            | beam.Create([(str(item.file), item.label, dict(item.columns)) for item in found])
            | beam.Reshuffle()
            | beam.FlatMap(_decoded, made).with_outputs(_UNREADABLE, main="examples")
        )
        given = (len(found), source.max_unreadable, "" if self._hashed else self._split, self._place)
        _ = read[_UNREADABLE] | beam.combiners.ToList() | beam.Map(_check_share, *given)
        return read["examples"]


def _all_rows(place: tuple[str, str, str], made: MadeSplits, *, hashed: bool) -> Iterable[tf.train.Example]:
    folder, split, pattern = place
    for row in rows(made, Path(folder), split, pattern, hashed=hashed):
        yield to_example(labeled(row, made))


def _decoded(values: tuple[str, str, dict[str, str]], made: MadeSplits) -> Iterable[Any]:
    item = Item(Path(values[0]), values[1], values[2])
    try:
        yield to_example(labeled(row_of(item, made), made))
    except UnreadableError as error:
        yield beam.pvalue.TaggedOutput(_UNREADABLE, f"{item.file} ({error.measured})")


def _check_share(unreadable: list[str], count: int, most: float, split: str, place: str) -> None:
    check_share(unreadable, count, most)
    if unreadable:
        _LOG.warning("left out %s of %d: %s", counted(len(unreadable), "file"), count, "; ".join(sorted(unreadable)))
        first = tuple(sorted(unreadable)[:MOST_NAMED])
        found = LeftOut(split=split, files=count, damaged=len(unreadable), bound=most, first=first)
        fileio.makedirs(place)
        with fileio.open(f"{place}/{_LEFT_OUT_FILES.replace('*', split)}", "w") as file:
            file.write(found.model_dump_json())


def _record_left_out(artifact: Any) -> None:
    """Move the workers' records of files that were left out to a property of the artifact."""
    found = []
    for name in sorted(fileio.glob(f"{artifact.uri}/{_LEFT_OUT_FILES}")):
        with fileio.open(name, "r") as file:
            found.append(LeftOut.model_validate_json(file.read()))
        fileio.remove(name)
    if found:
        artifact.set_string_custom_property(LEFT_OUT_PROPERTY, LEFT_OUT.dump_json(tuple(found)).decode())
