"""Metrics for trackers: TensorBoard, MLflow, Weights & Biases."""
