"""The embedded model server: OpenAI-compatible, several LoRA adapters at once; vLLM takes its place in production."""
