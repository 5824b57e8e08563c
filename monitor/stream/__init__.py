"""Kafka: the seam with Faust, the roles intake and detect, topics, the embedded broker."""
