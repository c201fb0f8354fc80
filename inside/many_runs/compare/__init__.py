"""What differs between runs, and what of it is more than chance."""
