"""Models on this machine's own device: found, fitted, loaded, run and let go."""
