"""`python -m hsorm`: the command line."""

from hsorm.cli import main

if __name__ == "__main__":
    main()
