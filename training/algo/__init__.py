"""The Flow-GRPO objective as pure functions of numbers and tensors."""
