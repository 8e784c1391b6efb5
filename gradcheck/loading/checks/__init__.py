"""What can be said of a target from its name and its files alone, in the time before torch is imported."""
