"""The state of the project at 226b4d1, and a program that records the same of any tree."""
