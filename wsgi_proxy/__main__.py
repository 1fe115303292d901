"""`python -m wsgi_proxy` is the command `wsgi-proxy`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
