"""The masked route: the whole model under any mask of edges."""
