"""`python -m marginface`: the command line."""

from marginface.cli.main import main

if __name__ == "__main__":
    main()
