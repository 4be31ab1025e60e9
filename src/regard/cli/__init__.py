"""Floor 7: the ``regard`` command, one file a verb.

``regard VERB ...`` imports ``regard.cli.VERB`` and calls its ``main(argv) -> int``. A verb reads its
arguments with ``regard.cli.arguments.parse`` and imports what is heavy inside ``main``, so that
``--help`` stays quick.
"""
