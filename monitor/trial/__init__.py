"""Offline: rules tried on history, tuned to it, and tested by cases."""
