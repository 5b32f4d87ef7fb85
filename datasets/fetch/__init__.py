"""Songs from addresses: the audio as its source gives it, and a manifest of where it came from."""
