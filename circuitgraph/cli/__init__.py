"""The command line. Results on stdout, progress and messages on stderr; heavy imports only
in commands.
"""
