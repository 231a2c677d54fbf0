"""How far labels agree, and what they agree on."""
