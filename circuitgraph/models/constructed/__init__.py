"""Models compiled from small programs, whose circuits are known."""
