"""Run the command `wsgi-proxy` as `python -m wsgi_proxy`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
