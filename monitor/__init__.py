"""A real-time streaming access monitor for health-data APIs."""

__version__ = "0.1.0"
