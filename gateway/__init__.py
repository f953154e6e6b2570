"""The OpenAI-compatible server in front of the model server: chooses the release, logs, takes feedback."""
