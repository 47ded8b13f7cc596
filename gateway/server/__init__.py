"""The server as a whole: what `serve` opens, one thing upon the other. A program: it may import all."""
