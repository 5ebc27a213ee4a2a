"""Models that are somewhere else: one loop that starts, remembers, polls, fetches and stops; providers only fill in the words."""
