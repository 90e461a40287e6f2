"""The local stack: all of Kept on one machine, on throwaway keys and an embedded PostgreSQL."""
