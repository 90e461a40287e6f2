"""The contract's services: protobuf in, protobuf out, no decisions."""
