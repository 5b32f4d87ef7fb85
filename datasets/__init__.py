"""Where songs come from: the composed demo library and downloads."""
