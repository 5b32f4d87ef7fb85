"""TFX components: thin adapters, and the pure code that they run."""
