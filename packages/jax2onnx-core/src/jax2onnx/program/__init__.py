"""The flat program, and what rewrites and analyses it before it is lowered."""
