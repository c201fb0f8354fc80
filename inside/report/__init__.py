"""The one HTML page."""
