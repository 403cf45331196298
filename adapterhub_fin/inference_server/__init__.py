"""Serve a pool over HTTP, in the shapes that clients of OpenAI speak."""
