"""Writes the generated pages, or checks that they are in step with the code."""

import sys

from docs.generate.pages import outdated, write

if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        write()
    elif behind := outdated():
        sys.exit(f"Behind the code: {', '.join(behind)}. Run: python -m docs.generate")
