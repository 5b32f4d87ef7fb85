"""The command line, one module for each group of commands. Commands import heavy modules only when they run."""
