"""Pipeline roots and examples in object stores, `s3://` and `gs://`, and the connection to ML Metadata."""
