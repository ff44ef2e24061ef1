"""The behaviour of every storage, tested on each: no test here depends on which one it uses."""
