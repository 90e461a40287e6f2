"""Protobuf in, protobuf out: one servicer for each service of kept.retention.v1."""
