"""Download of songs: the audio as its source provides it, and a manifest of its origin."""
