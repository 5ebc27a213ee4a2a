"""The HTTP API: routes over the workshop. Everything that decides something lives below."""
