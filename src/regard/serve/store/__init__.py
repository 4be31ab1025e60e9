"""What the server keeps: tables, migrations, and one module for each kind of thing.

Functions take an open session and an owner. Nothing here knows HTTP or the engine.
"""
