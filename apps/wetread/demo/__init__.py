"""`wetread demo`: a real head through the whole loop on this machine, each stage shown."""
