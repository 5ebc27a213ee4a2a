"""Hugging Face Spaces: where they answer, what their API takes, and the talk with one of them."""
