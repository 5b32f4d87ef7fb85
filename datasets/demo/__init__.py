"""The demo library: songs composed and rendered by this package, clearly synthetic."""
