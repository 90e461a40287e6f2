"""OTLP: what GenAI spans and events become."""
