"""What was measured, one module per producer, and the manifests that bind it to bytes."""
