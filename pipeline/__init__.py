"""Configuration, graph, runners and the command line."""
