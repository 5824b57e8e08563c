"""Operator commands: acts, who may, what they are shown."""
