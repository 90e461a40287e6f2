"""The service's servicers: protobuf in, protobuf out; no decisions."""
