"""TFX's launcher with artifacts in an object store: each node finds its inputs in folders, and leaves outputs there.

One place for TFX's own executors and ours. The same is done on Kubeflow Pipelines by its launcher. Here, too, the
content of every input without a manifest is compared with what ML Metadata has of it, wherever it lies.
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
from components.upstream.tfx.orchestration import surrounded_executors
from pipelines.storage.bucket import is_address
from pipelines.storage.staging import Staging, is_empty


def staged(staging: Staging) -> AbstractContextManager[None]:
    """As long as the context lasts, runners of this process stage what their executors read and write."""
    return surrounded_executors(lambda operator: StagedOperator(operator, staging))


class StagedOperator:
    """An executor operator around one of TFX's.

    Args:
        operator: What runs the executor.
        staging: Where its folders lie.
    """

    def __init__(self, operator: Any, staging: Staging) -> None:
        self._operator, self._staging = operator, staging

    def with_execution_watcher(self, address: str) -> StagedOperator:
        """See TFX's BaseExecutorOperator."""
        self._operator.with_execution_watcher(address)
        return self

    def run_executor(self, info: Any) -> Any:
        """Run the executor on copies; its outputs are in the store when this returns, and nowhere if it raises.

        Raises:
            StorageError: The store cannot be read or written, or holds something where an output is to lie.
            TamperedError: An input without a manifest is not what was written, before the executor reads it or after.
        """
        outputs = list(_addresses(info.output_dict))
        _refuse_taken(outputs)
        for one in _addresses(info.input_dict):
            self._staging.fetch(one.uri)
        with self._folders([one.uri for one in outputs], _working_folders(info)), self._addressed():
            localized = self._localized(info)
            inputs = [one for listed in localized.input_dict.values() for one in listed]
            check_content(inputs)
            # TFX records the failure of a node for what is an Exception alone.
            with exits_reported():
                made = self._operator.run_executor(localized)
            if made.execution_result.code == 0:
                check_content(inputs)
                _record_content(made)
                for one in outputs:
                    self._staging.publish(one.uri)
        for listed in made.output_artifacts.values():
            for one in listed.artifacts:
                one.uri = self._staging.remote(one.uri)
                _replace(one.properties, self._staging.remote)
                _replace(one.custom_properties, self._staging.remote)
        return made

    @contextmanager
    def _folders(self, outputs: Sequence[str], working: Sequence[str]) -> Iterator[None]:
        """Have empty folders for what an executor writes; outputs stay if all goes well, the others do not."""
        lasting, passing = ([Path(self._staging.local(uri)) for uri in uris] for uris in (outputs, working))
        try:
            for folder in (*lasting, *passing):
                # A copy of what another metadata store counted alike, or left by a process that was killed.
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
        """An artifact that was changed is named by its address: removing a copy would help nobody."""
        try:
            yield
        except TamperedError as error:
            where = self._staging.remote(error.where or "")
            raise TamperedError(
                error.what, where=where, bound=error.bound, measured=error.measured, remedy=error.remedy
            ) from error

    def _localized(self, info: Any) -> Any:
        """The launcher's orders with folders instead of addresses."""
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
        # The launcher publishes its own.
        copies = copy.deepcopy({name: list(listed) for name, listed in named.items()})
        for listed in copies.values():
            for one in listed:
                one.uri = self._staging.local(one.uri)
                _replace(one.mlmd_artifact.custom_properties, self._staging.local)
        return copies


def _record_content(made: Any) -> None:
    for listed in made.output_artifacts.values():
        for one in listed.artifacts:
            if digest := digest_to_record(Path(one.uri), one.custom_properties):
                one.custom_properties[CONTENT_PROPERTY].string_value = digest


def _addresses(named: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    """The artifacts that lie in object stores."""
    yield from (one for listed in named.values() for one in listed if is_address(one.uri))


def _working_folders(info: Any) -> list[str]:
    """The launcher's folders for what an executor writes in between, where they would lie in an object store."""
    # The temporary folder lies in that of the executor's own words.
    folders = [info.stateful_working_dir, info.execution_output_uri.rpartition("/")[0], info.tmp_dir]
    return [folder for folder in folders if is_address(folder)]


def _refuse_taken(outputs: Sequence[Any]) -> None:
    # Sorted, since the launcher's messages of Protobuf 6 have no order.
    taken = sorted(one.uri for one in outputs if is_address(one.uri) and not is_empty(one.uri))
    if not taken:
        return
    for one in outputs:
        # Or the launcher would remove it, as it does with outputs of nodes that fail.
        one.is_external = True
    raise StorageError(
        "there is something already where this node is to write",
        where=", ".join(taken),
        bound="a pipeline root that one metadata store alone writes to",
        remedy="keep the metadata that belongs to this pipeline root, or name another pipeline root",
    )


def _replace(properties: Any, change: Callable[[str], str]) -> None:
    """Change all texts of a message's map of properties: the gate tells the address of what it blessed, for one."""
    for value in properties.values():
        if value.HasField("string_value"):
            value.string_value = change(value.string_value)
