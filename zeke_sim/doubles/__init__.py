"""Doubles of what an application's handlers talk to: strict ones, for which an unscripted call fails."""

from zeke_sim.doubles.scripted import Scripted, Unscripted

__all__ = ["Scripted", "Unscripted"]
