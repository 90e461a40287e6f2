"""Acts on cases beside the reviewers' own queue: what people report, what customers appeal, what is opened again."""
