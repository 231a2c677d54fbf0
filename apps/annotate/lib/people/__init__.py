"""Who draws what, what a reviewer says of it, and what became of a model's proposal."""
