"""Scores of images and of labels."""
