"""The story's chapters, one a module; each has `play(plot)`."""
