"""Protobuf in, protobuf out; no decisions."""
