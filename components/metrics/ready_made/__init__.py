"""Metrics of sequences, segmentation, detection, transcripts, anomalies, embeddings, and keypoints."""
