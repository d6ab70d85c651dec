"""`python -m raycxr`: the command line where the console script is not on the path."""

from raycxr.cli.main import main

if __name__ == "__main__":
    main()
