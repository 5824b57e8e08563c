"""Bytes and objects: one module per topic, and nowhere else."""
