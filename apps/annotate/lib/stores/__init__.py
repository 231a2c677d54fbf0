"""Where images and labels lie."""
