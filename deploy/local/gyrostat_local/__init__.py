"""Kafka and the four services as processes of one machine."""
