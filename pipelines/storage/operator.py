"""Makes TFX's launcher use artifacts in an object store: each node reads and writes local folders.

Works for TFX's executors and Edgemill's. Kubeflow Pipelines' launcher does the same. This module also compares the
content of every input without a manifest with its record in ML Metadata, on disk or in an object store.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attr

from components.core.errors import StorageError, TamperedError
from components.core.stock_artifacts import CONTENT_PROPERTY, check_content, digest_to_record
from components.core.user_code import exits_reported
from components.object_store.bucket import is_address
from components.upstream.tfx.orchestration import surrounded_executors
from pipelines.storage.staging import Staging, is_empty


def staged(staging: Staging) -> AbstractContextManager[None]:
    """Make runners in this process stage the artifacts of their executors, for the duration of the context."""
    return surrounded_executors(lambda operator: StagedOperator(operator, staging))


class StagedOperator:
    """Wraps one of TFX's executor operators, so that executors read and write local copies of artifacts."""

    def __init__(self, operator: Any, staging: Staging) -> None:
        self._operator, self._staging = operator, staging

    def with_execution_watcher(self, address: str) -> StagedOperator:
        """See TFX's BaseExecutorOperator."""
        self._operator.with_execution_watcher(address)
        return self

    def run_executor(self, info: Any) -> Any:
        """Run the executor on local copies, then upload its outputs. If this raises an error, no outputs remain.

        Raises:
            StorageError: The store can't be read or written, or an output's address is in use.
            TamperedError: An input without a manifest differs from its record, before or after the execution.
        """
        outputs = list(_addresses(info.output_dict))
        _refuse_taken(outputs)
        for one in _addresses(info.input_dict):
            self._staging.fetch(one.uri)
        with self._folders([one.uri for one in outputs], _working_folders(info)), self._addressed():
            localized = self._localized(info)
            inputs = [one for listed in localized.input_dict.values() for one in listed]
            check_content(inputs)
            # TFX records a node's failure only for an Exception.
            with exits_reported():
                made = self._operator.run_executor(localized)
            if made.execution_result.code == 0:
                check_content(inputs)
                for one in _outputs(made):
                    if digest := digest_to_record(Path(one.uri), one.custom_properties):
                        one.custom_properties[CONTENT_PROPERTY].string_value = digest
                for one in outputs:
                    self._staging.publish(one.uri)
        for one in _outputs(made):
            one.uri = self._staging.remote(one.uri)
            _replace(one.properties, self._staging.remote)
            _replace(one.custom_properties, self._staging.remote)
        return made

    @contextmanager
    def _folders(self, outputs: Sequence[str], working: Sequence[str]) -> Iterator[None]:
        """Create empty folders for the executor's outputs. They are removed after an error."""
        lasting, passing = ([Path(self._staging.local(uri)) for uri in uris] for uris in (outputs, working))
        try:
            for folder in (*lasting, *passing):
                # Left by a killed process, or by another metadata store with the same execution number.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
            yield
        except BaseException:
            passing += lasting
            raise
        finally:
            for folder in passing:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _addressed(self) -> Iterator[None]:
        """Name a changed artifact by its address in errors: removing the local copy wouldn't help."""
        try:
            yield
        except TamperedError as error:
            where = self._staging.remote(error.where or "")
            raise TamperedError(
                error.what, where=where, bound=error.bound, measured=error.measured, remedy=error.remedy
            ) from error

    def _localized(self, info: Any) -> Any:
        """Return the launcher's execution info with folders instead of addresses."""
        local = self._staging.local
        return attr.evolve(
            info,
            input_dict=self._artifacts(info.input_dict),
            output_dict=self._artifacts(info.output_dict),
            execution_output_uri=local(info.execution_output_uri),
            stateful_working_dir=local(info.stateful_working_dir),
            tmp_dir=local(info.tmp_dir),
        )

    def _artifacts(self, named: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        # Copies, because the launcher publishes the original artifacts.
        copies = copy.deepcopy({name: list(listed) for name, listed in named.items()})
        for listed in copies.values():
            for one in listed:
                one.uri = self._staging.local(one.uri)
                _replace(one.mlmd_artifact.custom_properties, self._staging.local)
        return copies


def _outputs(made: Any) -> list[Any]:
    return [one for listed in made.output_artifacts.values() for one in listed.artifacts]


def _addresses(named: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    """Yield the artifacts in object stores."""
    yield from (one for listed in named.values() for one in listed if is_address(one.uri))


def _working_folders(info: Any) -> list[str]:
    """List the launcher's folders for temporary files that would be in an object store."""
    # The temporary folder is in the same folder as the executor's output file.
    folders = [info.stateful_working_dir, info.execution_output_uri.rpartition("/")[0], info.tmp_dir]
    return [folder for folder in folders if is_address(folder)]


def _refuse_taken(outputs: Sequence[Any]) -> None:
    # Sorted, because with Protobuf 6, the launcher's messages have no order.
    taken = sorted(one.uri for one in outputs if is_address(one.uri) and not is_empty(one.uri))
    if not taken:
        return
    for one in outputs:
        # Otherwise, the launcher would remove it, as it does with outputs of failed nodes.
        one.is_external = True
    raise StorageError(
        "there are already objects where this node writes its outputs",
        where=", ".join(taken),
        bound="a pipeline root that is used with only one metadata store",
        remedy="use the metadata store that belongs to this pipeline root, or choose another pipeline root",
    )


def _replace(properties: Any, change: Callable[[str], str]) -> None:
    """Change all strings in a map of properties, which can contain addresses, such as the blessed candidate's."""
    for value in properties.values():
        if value.HasField("string_value"):
            value.string_value = change(value.string_value)
