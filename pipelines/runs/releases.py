"""The releases that a push recorded in ML Metadata."""

from __future__ import annotations

import json
from typing import Any


def releases_of(pushed: Any) -> dict[str, str]:
    """Map the addresses of a PushedModel artifact's releases to the digests of their manifests.

    Empty if nothing was pushed. A digest is empty if an earlier version of Edgemill pushed.
    """
    properties = pushed.custom_properties
    first = properties["release_path"].string_value
    if not first:
        return {}
    others = json.loads(properties["other_releases"].string_value or "[]")
    found = {first: properties["release_manifest_sha256"].string_value}
    return found | {one["path"]: one["manifest_sha256"] for one in others}
