"""Export the linear solves of lineax, and of the libraries that solve by it."""
