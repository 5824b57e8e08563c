"""The demo: a gateway, an API, its partners, an attack, and the monitor, all on this machine."""
