"""Protobuf in, protobuf out: nothing is decided here."""
