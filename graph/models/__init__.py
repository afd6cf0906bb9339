"""Models by role: spec strings, OpenAI-compatible servers, and the embedded llama.cpp server with its downloads."""
