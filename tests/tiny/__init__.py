"""Tiny, randomly initialised Diffusers pipelines: real classes, real size rules, no download."""

import os

# Set before any of the libraries is imported: they read these once. Nothing here may reach the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
