"""Pipeline roots and examples that lie in object stores, `s3://` and `gs://`."""
