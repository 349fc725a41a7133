"""What a maintainer measures: speed of the input, of a GPU, and how a run grows."""
