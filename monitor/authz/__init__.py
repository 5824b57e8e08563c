"""The decision service: a process of its own that gateways ask before they let a request through."""
