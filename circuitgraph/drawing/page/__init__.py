"""Pages: a circuit, or a catalog, as one HTML file that needs no network."""
