"""From a finding to a refused credential: decisions, the ledger, deliveries."""
