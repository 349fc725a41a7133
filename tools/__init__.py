"""Scripts that keep the repository in order; the Makefile calls them, readers need none."""
