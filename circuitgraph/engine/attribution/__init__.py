"""What gradients and activations say of all edges at once."""
