"""Synthetic studies: parametric anatomy of known volume, imaged by CT, MR and X-ray, seeded."""
