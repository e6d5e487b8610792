"""Output: names, the ModelProto and the file."""
