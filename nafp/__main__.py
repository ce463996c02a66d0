"""Makes `python -m nafp` the same as the `nafp` command."""

from nafp import cli

if __name__ == "__main__":
    cli.main()
