"""Floor 0: what every room needs.

Errors that suggest the way out, strict configuration, atomic writes, and the
choice of device, threads and precision. Imports nothing from other rooms and
never imports torch at import time.
"""
