"""Reports: their text, and the files in which they are written."""
