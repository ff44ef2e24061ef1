"""What every storage does, told once and tried over each: no test here knows which one it talks to."""
