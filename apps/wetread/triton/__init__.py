"""A Triton server for the networks of `triton_models/`: what it is told, and running one here."""
