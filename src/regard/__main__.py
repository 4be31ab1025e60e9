"""``python -m regard`` is the ``regard`` command."""

from regard.cli.main import run

if __name__ == "__main__":
    run()
