"""What retention and settings ask of logging: keep, let go, drop, erase."""
