"""People: who is who, how they sign in, what they hold, who vouches for them, and when that lapses."""
