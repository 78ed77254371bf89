"""Inputs with work to do, one after the other; the stages of images overlap."""
