"""One machine drives the memory storage and Postgres alike, and compares every answer and every row."""
