"""The demo library: songs composed and rendered here, clearly synthetic."""
