"""The fault suite: real workers under faults of a seeded schedule, judged by two oracles (docs/reliability.md)."""
