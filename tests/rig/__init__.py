"""What tests need around the product: brokers, faults, and ways to wait."""
