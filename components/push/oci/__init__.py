"""The kind of registry that holds OCI artifacts."""
