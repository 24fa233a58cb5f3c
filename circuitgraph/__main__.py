"""``python -m circuitgraph``: the same as the command ``circuitgraph``."""

from circuitgraph.cli.main import main

if __name__ == "__main__":
    main()
