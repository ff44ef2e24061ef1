"""The kill matrix: which test of which layer kills which mutant."""
