"""Six classes of outdoor scenes, drawn by this project."""
