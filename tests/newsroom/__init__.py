"""A newsroom, for simulations of Zeke's own tasks: feeds, channels, an AI that fails, and users."""
