"""Names in a signed registry. Imported on devices, so it needs only the standard library.

    <root>/_tuf/<N>.root.json, timestamp.json, <N>.snapshot.json, <N>.targets.json     the top-level roles
    <root>/_tuf/<N>.<device class>.<channel>.json                                      one delegated role per channel
    <root>/_tuf/targets/<device class>/<name>/<digest>.<channel>.json                  its targets: pointers

The files of releases stay where they are. No device class begins with an underscore, so none can have the name of this
folder.

In an OCI registry, these files are tagged artifacts in the repository `<root>/edgemill-tuf`.
"""

from __future__ import annotations

import hashlib
import re

FOLDER = "_tuf"
OCI_REPOSITORY = "edgemill-tuf"
TARGETS_FOLDER = f"{FOLDER}/targets"
CHANNELS = ("canary", "beta", "stable")
# Signs releases that a registry had before it was signed, and that no channel names. Devices don't follow it.
ARCHIVE = "archive"
# The channels and archive that a device class can have a role for, in display order.
SIGNED = (*CHANNELS, ARCHIVE)
# The key of the state of a channel in a target's custom metadata.
CUSTOM = "edgemill"
# Signed fields that The Update Framework doesn't know.
SIGNED_AT = "x-edgemill-signed-at"
EXPIRY_DAYS = "x-edgemill-expiry-days"
# Name of an entry of the registry's audit log, which names the preceding entries by their digests.
LOG_ENTRY = "x-edgemill-log-entry"
# Version of the timestamp that a snapshot is signed for.
FOR_TIMESTAMP = "x-edgemill-for-timestamp"


def role_of(device_class: str, channel: str) -> str:
    """The delegated role that signs a channel of a device class."""
    return f"{device_class}.{channel}"


def paths_of(device_class: str, channel: str) -> list[str]:
    """The targets that the role may sign: the pointers of its channel, of any pipeline."""
    return [f"{device_class}/*/{channel}.json"]


def target_of(device_class: str, name: str, channel: str) -> str:
    """The target that contains the state of a channel."""
    return f"{device_class}/{name}/{channel}.json"


def tag_of(file: str) -> str:
    """The tag of a file of the metadata in an OCI registry: its name, or a digest of a name that can't be a tag."""
    if re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", file):
        return file
    return f"name-{hashlib.sha256(file.encode()).hexdigest()}"
