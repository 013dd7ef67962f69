"""`python -m lsrl` is the command line."""

from lsrl.cli import main

if __name__ == "__main__":
    main()
