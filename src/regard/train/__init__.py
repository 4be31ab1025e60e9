"""Floor 3: the training loop. It knows a :class:`Task`, never a particular model.

loss → gradients → step → checkpoint, and everything needed to stop anywhere and go
on as if nothing had happened.
"""
