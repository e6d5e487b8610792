"""The front end: from the user's callable to a jaxpr."""
