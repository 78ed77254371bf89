"""Networks of other programs (ESRGAN, SPAN, SwinIR, ...), read by spandrel: the extra `community`."""
