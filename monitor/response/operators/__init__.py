"""The operator API: who may ask what of the enforcer, and what they are shown."""
