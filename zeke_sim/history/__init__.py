"""The history of a run: its events, their recording, and the state derived from them."""
