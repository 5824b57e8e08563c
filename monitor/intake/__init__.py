"""From a gateway's record to pseudonymised rows: the only place that sees raw patient ids."""
