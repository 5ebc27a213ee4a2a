"""ComfyUI servers: a client of our own, workflow templates of our own, and what a person's workflow needs to become a card."""
