"""TFX's cache in this process. Importing this module doesn't import TFX."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Artifacts = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Execution:
    """An execution that TFX's launcher is about to look up.

    Attributes:
        kind: Type of the node, with its module.
        inputs: Name of an input -> its TFX artifacts.
        parameters: Name of a parameter -> its value.
    """

    kind: str
    inputs: Artifacts
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class SharedKey:
    """A cache key that several nodes can have.

    Attributes:
        parts: Name of a part -> text or artifact. Keys with the same parts, of the same pipeline, are equal.
        accepts: Whether a node uses this key, given the outputs that the cache has for it, or None. Otherwise, it uses
            its own key.
    """

    parts: Mapping[str, Any]
    accepts: Callable[[Artifacts | None], bool]


@contextmanager
def shared_keys(key_of: Callable[[Execution], SharedKey | None]) -> Iterator[None]:
    """Within this context, let nodes reuse the results of other nodes.

    TFX's cache key covers the name of the node and the identity of each input artifact, so equal bytes from another
    node miss the cache.

    Args:
        key_of: Returns the shared key of an execution; None if it has only its own key.
    """
    from tfx.orchestration.portable import cache_utils
    from tfx.orchestration.portable.mlmd import context_lib

    own_context = cache_utils.get_cache_context

    def context(metadata_handle: Any, pipeline_node: Any, pipeline_info: Any, **given: Any) -> Any:
        kind = pipeline_node.node_info.type.name
        key = key_of(Execution(kind, given.get("input_artifacts") or {}, given.get("parameters") or {}))
        if key is not None:
            shared = context_lib.register_context_if_not_exists(
                metadata_handle=metadata_handle,
                context_type_name=context_lib.CONTEXT_TYPE_EXECUTION_CACHE,
                context_name=_digest({"pipeline": pipeline_info.id, "kind": kind, **key.parts}),
            )
            if key.accepts(cache_utils.get_cached_outputs(metadata_handle=metadata_handle, cache_context=shared)):
                return shared
        return own_context(
            metadata_handle=metadata_handle, pipeline_node=pipeline_node, pipeline_info=pipeline_info, **given
        )

    cache_utils.get_cache_context = context
    try:
        yield
    finally:
        cache_utils.get_cache_context = own_context


def _digest(parts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        each = part if isinstance(part, str) else part.mlmd_artifact.SerializeToString(deterministic=True).hex()
        digest.update(f"{name}\0{len(each)}\0{each}\0".encode())
    return digest.hexdigest()
