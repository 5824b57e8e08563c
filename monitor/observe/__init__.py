"""What those see who watch the monitor: metrics, logs, probes."""
