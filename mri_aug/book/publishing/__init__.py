"""Execute the notebooks and render the book."""
