"""`python -m calczoo` is `calczoo`."""

from .cli import main

main()
