"""FastComposer (arXiv 2305.10431), one idea a file."""
